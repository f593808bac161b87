// The server as this page sees it.

const field = name => document.getElementById("s-" + name);

export function headers() {
  const own = { "Content-Type": "application/json" };
  if (field("key").value) own.Authorization = "Bearer " + field("key").value;
  return own;
}

// Server-sent events of a response, one by one: the text after "data: ". Comments and other fields are skipped.
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
  }
}

export async function failure(response) {
  let body = null;
  try { body = await response.json(); } catch { /* no JSON: the status has to do */ }
  return new Error(body?.error?.message ?? `the server answered ${response.status}`);
}

export async function firstModel() {
  const response = await fetch("v1/models", { headers: headers() });
  if (!response.ok) throw await failure(response);
  return (await response.json()).data[0].id;
}

function request(model, messages) {
  const body = { model, stream: true, stream_options: { include_usage: true } };
  const system = field("system").value.trim();
  body.messages = [...(system ? [{ role: "system", content: system }] : []), ...messages.map(({ role, content }) => ({ role, content }))];
  for (const name of ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed"])
    if (field(name).value !== "") body[name] = Number(field(name).value);
  body.chat_template_kwargs = { enable_thinking: field("thinking").checked };
  return body;
}

// Streams an answer: told(delta) for each piece, told({usage}) at its end.
export async function answer(model, messages, signal, told) {
  const response = await fetch("v1/chat/completions", {
    method: "POST", headers: headers(), signal, body: JSON.stringify(request(model, messages)),
  });
  if (!response.ok) throw await failure(response);
  for await (const data of events(response)) {
    if (data === "[DONE]") return;
    const piece = JSON.parse(data);
    if (piece.error) throw new Error(piece.error.message);
    if (piece.usage) told({ usage: piece.usage });
    const choice = piece.choices?.[0];
    if (choice) told({ content: choice.delta?.content ?? "", reasoning: choice.delta?.reasoning_content ?? "", finish: choice.finish_reason });
  }
}
