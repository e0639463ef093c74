/* Signs this browser in, shows the part that the address names, and keeps it true. forms.js sends what its forms say.
   The sign-in is a secret of this page's own origin, port included, sent by this script only: never a cookie, which
   would reach every port of 127.0.0.1 (RFC 6265 8.5). Nothing here builds HTML: that comes escaped from Keyfob. */
"use strict";

const KEPT = "keyfob-session";
// A page that has just come up under the pointer must not take the click that was meant for another.
const SETTLE = 700;
// The least time between two looks at what is new, and the waits before asking again where nobody answers.
const BREATH = 1000, AGAIN = [1000, 2000, 5000, 10000];
const OURS = /^\/ui\/($|accounts\/|add|apps|approvals\/|activity$|settings$|progress\/)/;
// What is counted is written down some seconds after it happened: then another look.
const WRITTEN = 5000;
// The first word of an address -> the place in the navigation; all others are with the accounts.
const SECTIONS = { apps: "/ui/apps", approvals: "/ui/apps", activity: "/ui/activity", settings: "/ui/settings" };
const GONE = "Keyfob does not answer. Is it running? In a terminal: keyfob status";

const root = document.documentElement;
const signedIn = () => Boolean(localStorage.getItem(KEPT));
let main, status, shown = "", standing = "", looked = 0, waits = 0;

// Before anything is drawn: who is signed in does not see how one signs in.
if (signedIn() || location.hash.startsWith("#s=")) root.dataset.signed = "";

function say(text, bad = false) {
  status.textContent = text;
  status.hidden = !text;
  status.classList.toggle("bad", bad);
}

async function ask(method, path, body, more = {}) {
  const headers = { Authorization: `Bearer ${localStorage.getItem(KEPT) || ""}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer", ...more,
  });
  if (answer.status === 401) {
    localStorage.removeItem(KEPT);
    delete root.dataset.signed;
  }
  return answer;
}

const problem = (answer) => answer.json().catch(() => ({ detail: "That did not work. Keyfob’s log says more." }));
const told = async (answer) => (await problem(answer)).detail;

async function signIn() {
  const ticket = new URLSearchParams(location.hash.slice(1)).get("s");
  if (!ticket) return;
  history.replaceState(null, "", location.pathname);
  const answer = await ask("POST", "/ui/session", { ticket });
  if (answer.ok) localStorage.setItem(KEPT, (await answer.json()).session);
  else say(await told(answer), true);
}

/* --- times and bars: relative, the exact time on hover -------------------------------------------------------------- */

const UNITS = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "long" });
const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function relative(moment) {
  const seconds = (moment - Date.now()) / 1000, size = Math.abs(seconds);
  if (size < 5) return seconds < 0 ? "just now" : "now";
  const [unit, length] = UNITS.find(([, least]) => size >= least);
  return RELATIVE.format(Math.trunc(seconds / length), unit);
}

function tell(within) {
  for (const time of within.querySelectorAll("time")) {
    const moment = Date.parse(time.dateTime);
    const text = relative(moment);
    if (time.textContent !== text) time.textContent = text;
    time.title = EXACT.format(moment);
  }
  for (const bar of within.querySelectorAll(".life")) {
    const from = Number(bar.dataset.from), to = Number(bar.dataset.to);
    const past = Math.min(Math.max((Date.now() / 1000 - from) / Math.max(to - from, 1), 0), 1) * 100;
    bar.querySelector(".past").setAttribute("width", past.toFixed(2));
  }
}

/* --- without flicker: what has not changed stays the same node, with its focus and what was typed into it ------------ */

const keyOf = (node) => node.id || node.dataset?.key || "";
// What the person or this script set, and the server does not know of.
const KEPT_ATTRIBUTES = { DETAILS: ["open"], DIALOG: ["open"], BUTTON: ["disabled"], INPUT: ["disabled"] };

function morph(old, next) {
  if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName || keyOf(old) !== keyOf(next)) {
    old.replaceWith(next);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  const kept = KEPT_ATTRIBUTES[old.nodeName] || [];
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name) && !kept.includes(name)) old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value && !kept.includes(name)) old.setAttribute(name, value);
  }
  morphChildren(old, next);
}

function morphChildren(old, next) {
  const keyed = new Map([...old.childNodes].filter(keyOf).map((node) => [keyOf(node), node]));
  let at = old.firstChild;
  for (const child of [...next.childNodes]) {
    const key = keyOf(child), same = key ? keyed.get(key) : at;
    if (!same || (!key && at && keyOf(at))) {
      old.insertBefore(child, at);
      continue;
    }
    if (same === at) at = at.nextSibling;
    else old.insertBefore(same, at);
    morph(same, child);
  }
  while (at) {
    const after = at.nextSibling;
    if (!at.matches?.(".problem")) at.remove(); // what went wrong stays to be read
    at = after;
  }
}

/* --- the part that the address names --------------------------------------------------------------------------------- */

function partOf(address) {
  const url = new URL(address, location.origin);
  return `/ui/parts/${url.pathname.replace(/^\/(ui\/?)?/, "") || "overview"}${url.search}`;
}

async function load(fresh) {
  if (!signedIn()) return;
  const path = partOf(location.href);
  looked = Date.now();
  const answer = await ask("GET", path);
  if (answer.status === 401) return location.reload();
  if (path !== partOf(location.href)) return; // the person has gone on meanwhile
  standing = answer.ok ? path : "";
  if (!answer.ok) {
    if (fresh) main.replaceChildren(); // what stood there is not what the address names
    return say(await told(answer), true);
  }
  if (status.textContent === GONE) say("");
  const html = await answer.text();
  if (html === shown && !fresh) return tell(main);
  shown = html;
  const drawn = document.createElement("template");
  drawn.innerHTML = html; // from this origin, and escaped there; the policy lets nothing in it run
  if (fresh) main.replaceChildren(drawn.content);
  else morphChildren(main, drawn.content);
  tell(main);
  dressed(fresh);
}

function dressed(fresh) {
  const page = main.firstElementChild, { title, waiting } = page.dataset;
  if (title) document.title = `${title} · Keyfob`;
  const badge = document.querySelector(".badge");
  if (waiting !== undefined) {
    badge.hidden = waiting === "0";
    badge.textContent = waiting;
  }
  const here = SECTIONS[location.pathname.split("/")[2]] || "/ui/";
  for (const link of document.querySelectorAll("header nav a")) {
    if (link.getAttribute("href") === here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!fresh) return;
  for (const button of main.querySelectorAll("[data-arm] button")) {
    button.disabled = true;
    setTimeout(() => { button.disabled = false; }, SETTLE);
  }
  const asked = location.hash && document.getElementById(location.hash.slice(1));
  if (asked) asked.scrollIntoView();
  else if (fresh === "gone to") {
    scrollTo(0, 0);
    main.querySelector("h1")?.focus({ preventScroll: true });
  }
}

async function go(address, replace = false) {
  const url = new URL(address, location.origin);
  if (url.origin !== location.origin || !OURS.test(url.pathname)) return location.assign(url);
  history[replace ? "replaceState" : "pushState"](null, "", url);
  say("");
  await load("gone to");
}

/* --- what is new ------------------------------------------------------------------------------------------------------ */

const others = new BroadcastChannel("keyfob-news");
let due = 0, later = 0, listening = null;

function look() {
  if (due || document.hidden) return;
  due = setTimeout(() => {
    due = 0;
    if (main.querySelector("[aria-busy]")) return; // what is done there changes the page, and is looked at then
    load().catch(() => say(GONE, true));
  }, Math.max(0, looked + BREATH - Date.now()));
}

async function listen(signal) {
  const answer = await ask("GET", "/ui/events", undefined, { signal });
  if (!answer.ok) return answer.status === 401 ? location.reload() : undefined;
  waits = 0;
  spread(); // of what happened before somebody listened
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (text + value).split("\n");
    text = lines.pop();
    if (lines.some((line) => line.startsWith("event:"))) spread();
  }
}

function spread() {
  heard();
  others.postMessage("");
}

function heard() {
  look();
  clearTimeout(later);
  later = setTimeout(look, WRITTEN);
}

// A browser holds six connections to a host, over all its tabs: one of those that are looked at keeps one for the news,
// and tells the others.
async function live() {
  others.onmessage = heard;
  while (signedIn()) {
    await seen();
    look();
    const { signal } = listening = new AbortController();
    await navigator.locks.request("keyfob-news", { signal }, () => listen(signal)).catch(() => {
      if (!document.hidden) say(GONE, true);
    });
    if (document.hidden) continue;
    await new Promise((resolve) => { setTimeout(resolve, AGAIN[Math.min(waits++, AGAIN.length - 1)]); });
  }
}

function seen() {
  return new Promise((resolve) => {
    if (!document.hidden) return resolve();
    document.addEventListener("visibilitychange", resolve, { once: true });
  });
}

/* --- the beginning ---------------------------------------------------------------------------------------------------- */

function guarded(work, form) {
  Promise.resolve(work).catch(() => (form ? complain(form, GONE) : say(GONE, true)));
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method === "dialog") return;
  event.preventDefault();
  guarded(submit(form, event.submitter), form);
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) return guarded(copy(button));
  const word = event.target.closest("[data-word]");
  if (word) return toggle(word);
  const link = event.target.closest("a");
  const plain = event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
  if (!link || !plain || !signedIn() || link.target || link.origin !== location.origin) return;
  if (link.hash && link.pathname === location.pathname) return;
  if (!OURS.test(link.pathname)) return;
  event.preventDefault();
  guarded(go(link.href));
});

// What is searched is shown while it is typed.
document.addEventListener("input", ({ target: { form } }) => {
  if (form?.dataset.live === undefined) return;
  history.replaceState(null, "", `${form.getAttribute("action")}?${new URLSearchParams(read(form))}`);
  guarded(load());
});

addEventListener("popstate", () => {
  if (partOf(location.href) !== standing) guarded(load("gone to")); // else it is another place on the same page
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) listening?.abort();
});

document.addEventListener("DOMContentLoaded", async () => {
  main = document.getElementById("main");
  status = document.querySelector("[role=status]");
  try {
    await signIn();
    if (!signedIn()) return delete root.dataset.signed;
    await load("opened");
    setInterval(() => {
      if (document.hidden) return;
      tell(main);
      // Of some things no news comes, or comes before they are written down.
      if (Date.now() - looked > 1000 * main.firstElementChild?.dataset.every) look();
    }, 1000);
    live();
  } catch {
    say(GONE, true);
  }
});
