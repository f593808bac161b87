// What the engine is doing, from the events of /stats: four lines over the last two minutes, and every expert of every layer as a dot:
// green as it is used, red as it is read, fading again.
import { events, failure, headers } from "./api.js";

const keep = 240; // samples of a line: two a second
const lines = { speed: [], disk: [], hits: [], memory: [] };
let running = null;

const at = id => document.getElementById(id);
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name);

function drawLine(name, most) {
  const canvas = at("c-" + name), values = lines[name], scale = devicePixelRatio || 1;
  const top = most ?? Math.max(1e-9, ...values) * 1.1, pen = canvas.getContext("2d");
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  pen.strokeStyle = colour("--mark");
  pen.lineWidth = 1.5 * scale;
  pen.beginPath();
  values.forEach((value, i) => {
    const x = (i + keep - values.length) / (keep - 1) * canvas.width, y = (canvas.height - pen.lineWidth) * (1 - value / top);
    if (i) pen.lineTo(x, y); else pen.moveTo(x, y);
  });
  pen.stroke();
}

function add(name, value, digits, most) {
  lines[name].push(value);
  if (lines[name].length > keep) lines[name].shift();
  at("v-" + name).textContent = value.toFixed(digits);
  drawLine(name, most);
}

// used and read: a string per layer, a digit per expert, 0 cold to 9 hot.
function drawHeat({ layers, experts, used, read }) {
  const canvas = at("heat"), pen = canvas.getContext("2d"), dot = Math.max(1, Math.floor(8 / Math.ceil(experts / 64)));
  canvas.width = experts;
  canvas.height = layers * (experts > 64 ? 2 : 1);
  canvas.style.aspectRatio = `${experts * dot} / ${layers * dot * (experts > 64 ? 2 : 1)}`;
  const image = pen.createImageData(canvas.width, canvas.height), tall = canvas.height / layers;
  for (let y = 0; y < canvas.height; y++)
    for (let x = 0, i = y * experts * 4, layer = Math.floor(y / tall); x < experts; x++, i += 4) {
      const warm = used[layer].charCodeAt(x) - 48, hot = read[layer].charCodeAt(x) - 48;
      image.data.set([40 + hot * 23, 44 + warm * 20, 60 + warm * 6, 255], i);
    }
  pen.putImageData(image, 0, 0);
}

function show(stats) {
  const { rates, memory } = stats;
  add("speed", rates.decode_tok_s || rates.prefill_tok_s, 1);
  add("disk", rates.disk_gb_s, 2);
  add("hits", rates.hit_rate, 2, 1);
  if (memory) add("memory", memory.rss_bytes / 2 ** 30, 2, memory.ram_bytes / 2 ** 30);
  if (stats.heat?.used.length) drawHeat(stats.heat);
  const { requests_running: busy, requests_waiting: waiting } = stats;
  at("state").textContent = stats.phase !== "ready" ? stats.phase : busy ? `${busy} running, ${waiting} waiting` : "at rest";
}

export async function start() {
  stop();
  const mine = running = new AbortController();
  while (running === mine) {
    try {
      const response = await fetch("stats", { headers: { ...headers(), Accept: "text/event-stream" }, signal: mine.signal });
      if (!response.ok) throw await failure(response);
      for await (const data of events(response)) show(JSON.parse(data));
    } catch (error) {
      if (error.name === "AbortError") return;
      at("state").textContent = error.message;
    }
    await new Promise(wake => setTimeout(wake, 2000)); // the server was restarted, perhaps
  }
}

export function stop() {
  running?.abort();
  running = null;
}
