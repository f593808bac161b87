// The conversations of this browser: kept in its local storage and nowhere else.

const key = "sluice.talks";
let talks = [];

export function load() {
  try { talks = JSON.parse(localStorage.getItem(key)) ?? []; } catch { talks = []; }
  if (!Array.isArray(talks)) talks = [];
  return talks;
}

// The newest that fit: a full storage drops the oldest conversations, not the one under way.
export function save() {
  for (let n = talks.length; n > 0; n--)
    try { return localStorage.setItem(key, JSON.stringify(talks.slice(0, n))); } catch { /* too much: one less */ }
}

export const all = () => talks;

export function begin() {
  const talk = { id: crypto.getRandomValues(new Uint32Array(2)).join("-"), title: "", messages: [] };
  talks.unshift(talk);
  return talk;
}

export function drop(talk) {
  talks = talks.filter(t => t !== talk);
  save();
}

// A conversation is called after its first question.
export function name(talk) {
  if (!talk.title) talk.title = (talk.messages.find(m => m.role === "user")?.content ?? "").replace(/\s+/g, " ").slice(0, 60);
  return talk.title || "New conversation";
}
