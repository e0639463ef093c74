/* Signs this browser in, shows what waits for the owner, and sends the answer.
   The sign-in is a secret of this page's own origin, port included, sent by this script only: never a cookie, which
   would reach every port of 127.0.0.1 (RFC 6265 8.5). */
"use strict";

const KEPT = "keyfob-session";
// A page that has just come up under the pointer must not take the click that was meant for another.
const SETTLE = 700;
const AGAIN = 4000;
const DONE = { allowed: "allowed", once: "allowed once", denied: "not allowed", never: "never allowed" };

const place = document.querySelector("[data-part]");
const status = document.querySelector("[role=status]");

function say(text) {
  status.textContent = text;
  status.hidden = !text;
}

async function ask(method, path, body) {
  const headers = { Authorization: `Bearer ${localStorage.getItem(KEPT) || ""}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
  });
  if (answer.status === 401) localStorage.removeItem(KEPT);
  return answer;
}

async function said(answer) {
  try {
    return (await answer.json()).detail;
  } catch {
    return "That did not work. Keyfob’s log says more.";
  }
}

async function signIn() {
  const ticket = new URLSearchParams(location.hash.slice(1)).get("s");
  if (!ticket) return;
  history.replaceState(null, "", location.pathname);
  const answer = await ask("POST", "/ui/session", { ticket });
  if (answer.ok) localStorage.setItem(KEPT, (await answer.json()).session);
  else say(await said(answer));
}

let shown = "";

async function load() {
  if (!localStorage.getItem(KEPT)) return;
  const answer = await ask("GET", place.dataset.part);
  if (answer.status === 401) return location.reload();
  if (!answer.ok) return say(await said(answer));
  const html = await answer.text();
  if (html === shown || place.contains(document.activeElement?.closest("form"))) return;
  shown = html;
  place.innerHTML = html; // from this origin, and escaped there; the policy lets nothing in it run
  place.closest(".tag").className = `tag ${place.firstElementChild.dataset.tone}`;
  for (const button of place.querySelectorAll("button")) {
    button.disabled = true;
    setTimeout(() => { button.disabled = false; }, SETTLE);
  }
}

place.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target, button = event.submitter, fields = new FormData(form);
  const body = { decision: button.value, remember: button.dataset.remember };
  if (body.remember === "until") body.expires_at = Math.floor(Date.now() / 1000) + Number(fields.get("seconds"));
  if (fields.get("name")) body.name = fields.get("name");
  if (fields.getAll("account").length) body.accounts = fields.getAll("account");
  const answer = await ask("POST", form.getAttribute("action"), body);
  if (!answer.ok) return say(await said(answer));
  const now = await answer.json();
  say(`${now.app}: ${DONE[now.state]}.`);
  history.replaceState(null, "", "/ui/");
  place.dataset.part = "/ui/parts/approvals";
  document.activeElement.blur();
  await load();
});

(async () => {
  try {
    await signIn();
    await load();
    if (place.dataset.live !== undefined) setInterval(() => { if (!document.hidden) load().catch(() => {}); }, AGAIN);
  } catch {
    say("Keyfob does not answer. Is it running? In a terminal: keyfob status");
  }
})();
