// The page: one conversation at a time, streamed.
import * as api from "./api.js";
import * as talks from "./talks.js";
import { markdown } from "./markdown.js";
import * as live from "./live.js";

const at = id => document.getElementById(id);
let talk = null, model = "", running = null;

// ---- the list of conversations ----

function showList() {
  at("list").replaceChildren(...talks.all().map(t => {
    const li = document.createElement("li"), open = document.createElement("button"), drop = document.createElement("button");
    open.className = "open";
    open.textContent = talks.name(t);
    open.setAttribute("aria-current", String(t === talk));
    open.onclick = () => { choose(t); toggle("menu", "side", false); };
    drop.className = "drop";
    drop.textContent = "×";
    drop.setAttribute("aria-label", "Delete " + talks.name(t));
    drop.onclick = () => { talks.drop(t); if (t === talk) choose(talks.all()[0] ?? talks.begin()); else showList(); };
    li.append(open, drop);
    return li;
  }));
}

function choose(t) {
  running?.abort();
  talk = t;
  at("talk").replaceChildren(...talk.messages.map(m => turn(m).node));
  showList();
  at("talk").scrollTop = at("talk").scrollHeight;
  at("prompt").focus();
}

// ---- one turn ----

// The node of a message, and what brings it up to date while it grows.
function turn(message) {
  const node = document.createElement("div");
  node.className = "turn " + message.role;
  if (message.role === "user") {
    node.textContent = message.content;
    return { node, update() {} };
  }
  const think = document.createElement("details"), thought = document.createElement("div"), body = document.createElement("div");
  const foot = document.createElement("div");
  think.className = "think";
  think.append(Object.assign(document.createElement("summary"), { textContent: "Thoughts" }), thought);
  foot.className = "foot";
  node.append(think, body, foot);
  const update = () => {
    think.hidden = !message.reasoning;
    thought.textContent = message.reasoning ?? "";
    body.replaceChildren(...markdown(message.content));
    foot.textContent = message.foot ?? "";
    if (!message.foot) return;
    const copy = document.createElement("button");
    copy.textContent = "Copy";
    copy.onclick = () => navigator.clipboard.writeText(message.content);
    foot.append(" ", copy);
  };
  update();
  return { node, update };
}

function complain(text) {
  const node = document.createElement("div");
  node.className = "turn error";
  node.setAttribute("role", "alert");
  node.textContent = text;
  at("talk").append(node);
  node.scrollIntoView();
}

const foot = (usage, ms, stopped) => {
  const cached = usage?.prompt_tokens_details?.cached_tokens;
  const said = usage ? [`${usage.completion_tokens} tokens in ${(ms / 1000).toFixed(1)} s`, `prompt ${usage.prompt_tokens}${cached ? `, ${cached} of it known` : ""}`] : [];
  if (stopped) said.push(stopped);
  return said.join(" · ");
};

// Asks for an answer to the conversation as it is and shows it while it comes; redrawn at most once per frame.
async function ask() {
  const here = talk, message = { role: "assistant", content: "", reasoning: "" };
  const { node, update } = turn(message), box = at("talk");
  box.append(node);
  running = new AbortController();
  busy(true);
  const start = performance.now();
  let usage = null, why = "", drawn = 0;
  const draw = () => {
    drawn = 0;
    const follow = box.scrollHeight - box.scrollTop - box.clientHeight < 80;
    update();
    if (follow) box.scrollTop = box.scrollHeight;
  };
  try {
    await api.answer(model, here.messages, running.signal, piece => {
      if (piece.usage) usage = piece.usage;
      message.content += piece.content ?? "";
      message.reasoning += piece.reasoning ?? "";
      if (piece.finish === "length") why = "cut at its length";
      drawn ||= requestAnimationFrame(draw);
    });
  } catch (error) {
    if (error.name === "AbortError") why = "stopped";
    else complain(error.message);
  }
  cancelAnimationFrame(drawn);
  message.foot = foot(usage, performance.now() - start, why);
  if (message.content || message.reasoning) here.messages.push(message);
  else node.remove();
  draw();
  running = null;
  busy(false);
  talks.save();
  showList();
}

function busy(yes) {
  at("send").hidden = yes;
  at("stop").hidden = !yes;
  if (!yes) at("prompt").focus();
}

async function send() {
  const content = at("prompt").value.trim();
  if (!content || running) return;
  at("prompt").value = "";
  talk.messages.push({ role: "user", content });
  at("talk").append(turn(talk.messages.at(-1)).node);
  at("talk").scrollTop = at("talk").scrollHeight;
  talks.save();
  showList();
  if (!model) await meet();
  await ask();
}

// ---- settings, panels, keys ----

function toggle(button, panel, open = at(button).getAttribute("aria-expanded") !== "true") {
  at(button).setAttribute("aria-expanded", String(open));
  if (panel === "side") at("side").classList.toggle("open", open);
  else at(panel).hidden = !open;
  return open;
}

function show(which) {
  const panel = toggle("live", "panel", which === "live" && at("panel").hidden);
  toggle("set", "settings", which === "set" && at("settings").hidden);
  if (panel) live.start(); else live.stop();
}

// The key stays in this tab; the other settings in the browser.
function rememberSettings() {
  for (const field of document.querySelectorAll("#settings input, #settings textarea")) {
    const store = field.id === "s-key" ? sessionStorage : localStorage, name = "sluice." + field.id;
    const box = field.type === "checkbox", kept = store.getItem(name);
    if (kept !== null) { if (box) field.checked = kept === "true"; else field.value = kept; }
    field.addEventListener("change", () => store.setItem(name, String(box ? field.checked : field.value)));
  }
}

async function meet() {
  try {
    model = await api.firstModel();
    at("model").textContent = model;
  } catch (error) { complain(error.message); }
}

at("form").onsubmit = event => { event.preventDefault(); send(); };
at("stop").onclick = () => running?.abort();
at("new").onclick = () => { choose(talk.messages.length ? talks.begin() : talk); toggle("menu", "side", false); };
at("menu").onclick = () => toggle("menu", "side");
at("live").onclick = () => show("live");
at("set").onclick = () => show("set");
at("prompt").onkeydown = event => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
};
document.onkeydown = event => {
  if (event.key === "Escape") running?.abort();
  const keys = { n: "new", l: "live", s: "set" };
  if (event.altKey && keys[event.key]) { event.preventDefault(); at(keys[event.key]).click(); }
};

rememberSettings();
choose(talks.load()[0] ?? talks.begin());
meet();
