/* Sends what the forms of the owner's pages say, as JSON, and does what comes after it. Loaded beside keyfob.js, which has
   the sign-in and the parts; what a form wants stands in its data attributes. */
"use strict";

// How a request stands after an answer.
const WORDS = { once: "allowed once", denied: "not allowed", never: "never allowed" };

function read(form, button) {
  const body = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled || field.nodeName === "BUTTON") continue;
    if (field.type === "checkbox" && !field.checked) continue;
    const kind = field.dataset.kind, raw = field.type === "password" ? field.value : field.value.trim();
    if (raw === "") continue;
    let value = raw;
    if (kind === "flag") value = true;
    else if (kind === "number") value = Number(raw);
    else if (kind === "words") value = raw.split(/[\s,]+/);
    else if (kind === "lines") value = raw.split("\n").map((line) => line.trim()).filter(Boolean);
    else if (kind === "date") value = new Date(`${raw}T23:59:59`).getTime() / 1000;
    else if (kind === "from-now") value = isNaN(raw) ? raw : Math.floor(Date.now() / 1000) + Number(raw); // or a time
    else if (kind === "list") value = [...(body[field.name] || []), raw];
    const steps = field.name.split("."), last = steps.pop();
    let at = body;
    steps.forEach((step, index) => { at = at[step] ||= /^\d+$/.test(steps[index + 1] ?? last) ? [] : {}; });
    at[last] = value;
  }
  if (button?.name) body[button.name] = button.value;
  for (const pair of (button?.dataset.also || "").split(" ").filter(Boolean)) {
    const [name, value] = pair.split("=");
    body[name] = value;
  }
  for (const name of (button?.dataset.drop || "").split(" ")) delete body[name];
  return body;
}

function filled(pattern, values, taken = {}) {
  return pattern.replace(/\{(\w+)\}/g, (_, name) => {
    taken[name] = true;
    return encodeURIComponent(values[name] ?? "");
  });
}

function complain(form, text) {
  let place = form.querySelector(":scope > .problem");
  if (!place) {
    place = document.createElement("p");
    place.className = "problem";
    place.setAttribute("role", "alert");
    form.append(place);
  }
  place.textContent = text;
  place.hidden = !text;
}

async function submit(form, button) {
  // What a browser cannot read as a number it gives out as nothing, which means something else.
  const unread = [...form.elements].find((field) => field.validity?.badInput);
  if (unread) return unread.reportValidity();
  const { method, then, done, confirm } = form.dataset, body = read(form, button), taken = {};
  if (method === "GET") return go(`${form.getAttribute("action")}?${new URLSearchParams(body)}`.replace(/\?$/, ""));
  if (confirm && !(await sure(confirm, form.dataset.yes))) return;
  const path = filled(form.getAttribute("action"), body, taken);
  for (const name of Object.keys(taken)) delete body[name];
  const bare = method === "DELETE";
  const query = bare && Object.keys(body).length ? `?${new URLSearchParams(body)}` : "";
  complain(form, "");
  form.setAttribute("aria-busy", "true"); // until the page has gone where the answer leads: what it shows may be gone
  try {
    const answer = await ask(method, path + query, bare ? undefined : body);
    if (!answer.ok) return await refused(form, body, await problem(answer));
    const now = answer.status === 204 ? {} : await answer.json();
    form.reset();
    await after(then || "", now);
    tellWhat(now, done);
  } finally {
    form.removeAttribute("aria-busy");
    look(); // at what happened meanwhile
  }
}

function tellWhat(now, done) {
  const words = (done || "").replace(/\{(\w+)\}/g, (_, name) => WORDS[now[name]] || now[name]);
  if (now.said || now.detail || words) say(now.said || now.detail || words, now.intact === false);
}

// A provider that does not know Keyfob yet: there is a page that says how a client is made, and takes it.
async function refused(form, { account, flow }, { provider, redirect_uri: needed, registration, detail }) {
  if (!needed || form.elements.client_id) return complain(form, detail);
  const said = Object.entries({ client: "own", account, way: flow }).filter(([, value]) => value);
  await go(`/ui/add/${encodeURIComponent(provider)}?${new URLSearchParams(said)}`);
  say(registration ? `Keyfob tried to register itself there: ${registration}` : "It does not know Keyfob yet: a client is needed.", true);
}

async function after(then, now) {
  if (then === "key") await handOver(now);
  if (then === "out") {
    localStorage.removeItem(KEPT);
    return location.assign("/ui/");
  }
  if (then === "login") {
    if (now.state === "done") return go(`/ui/accounts/${encodeURIComponent(now.account)}`);
    if (now.flow === "browser") return location.assign(now.start_url);
    return go(`/ui/progress/${encodeURIComponent(now.id)}`);
  }
  return then.startsWith("/") ? go(filled(then, now), true) : load();
}

// A suggestion: put the word into the field, or take it out again.
function toggle({ form, textContent, dataset }) {
  const field = form.elements[dataset.word], words = new Set(field.value.split(/[\s,]+/).filter(Boolean));
  if (!words.delete(textContent)) words.add(textContent);
  field.value = [...words].join(" ");
}

function answered(dialog) {
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

function sure(question, yes) {
  const dialog = document.getElementById("sure");
  dialog.returnValue = "";
  dialog.querySelector("p").textContent = question;
  dialog.querySelector("[value=yes]").textContent = yes;
  return answered(dialog);
}

async function handOver({ name, key }) {
  const dialog = document.getElementById("key"), field = dialog.querySelector("input");
  dialog.querySelector("strong").textContent = name;
  field.value = dialog.querySelector("[data-copy]").dataset.copy = key;
  // Nothing shows it again, so nothing but its button ends this: not Escape either, which a browser lets through in the end.
  dialog.oncancel = (event) => event.preventDefault();
  do dialog.returnValue = ""; while (!(await answered(dialog)));
  field.value = dialog.querySelector("[data-copy]").dataset.copy = "";
}

async function copy(button) {
  const before = button.textContent;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = before; }, 2 * SETTLE);
}
