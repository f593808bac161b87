// Markdown to DOM nodes. Text of a model never becomes markup: every node is made by name and filled by textContent, and a link goes
// nowhere but to http and https. What is not understood stays as it was written.

const make = (name, ...children) => {
  const node = document.createElement(name);
  node.append(...children);
  return node;
};

function link(text, address) {
  let url = null;
  try { url = new URL(address); } catch { /* not an address: stays text */ }
  if (!url || !/^https?:$/.test(url.protocol)) return null;
  const a = make("a", text);
  a.href = url.href;
  a.rel = "noopener noreferrer nofollow";
  a.target = "_blank";
  return a;
}

const inlineForms = /(`+)(.+?)\1(?!`)|\*\*(\S(?:.*?\S)?)\*\*|(?<![\w*])\*(\S(?:.*?\S)?)\*(?![\w*])|~~(\S(?:.*?\S)?)~~|\[([^\][]+)\]\(([^()\s]+)\)/s;

// code, bold, italic, struck, links: a list of nodes and strings
export function inline(text) {
  const out = [];
  for (let m; text && (m = inlineForms.exec(text)); text = text.slice(m.index + m[0].length)) {
    out.push(text.slice(0, m.index));
    if (m[1]) out.push(make("code", m[2]));
    else if (m[3]) out.push(make("strong", ...inline(m[3])));
    else if (m[4]) out.push(make("em", ...inline(m[4])));
    else if (m[5]) out.push(make("s", ...inline(m[5])));
    else out.push(link(m[6], m[7]) ?? m[0]);
  }
  out.push(text);
  return out;
}

const fence = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)/;
const item = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const rule = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const tableRule = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const cells = line => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map(c => c.trim().replace(/\\\|/g, "|"));

function code(lines, i, out) {
  const mark = fence.exec(lines[i])[1], body = [];
  for (i++; i < lines.length && !(lines[i].trim().startsWith(mark) && !lines[i].trim().replaceAll(mark[0], "")); i++) body.push(lines[i]);
  out.push(make("pre", make("code", body.join("\n"))));
  return i + 1;
}

function table(lines, i, out) {
  const row = (line, cell) => make("tr", ...cells(line).map(c => make(cell, ...inline(c))));
  const body = make("tbody");
  const head = make("thead", row(lines[i], "th"));
  for (i += 2; i < lines.length && lines[i].includes("|"); i++) body.append(row(lines[i], "td"));
  out.push(make("table", head, body));
  return i;
}

// A list and those inside it, by indentation.
function list(lines, i, out) {
  const [, indent, sign] = item.exec(lines[i]);
  const node = make(/\d/.test(sign) ? "ol" : "ul");
  if (/\d/.test(sign)) node.start = parseInt(sign, 10);
  while (i < lines.length) {
    const m = item.exec(lines[i]);
    if (!m || m[1].length < indent.length || /\d/.test(m[2]) !== /\d/.test(sign)) break;
    const li = make("li");
    const inside = [m[3]];
    for (i++; i < lines.length && (/^\s+\S/.test(lines[i]) ? lines[i].search(/\S/) > indent.length : !lines[i].trim() && /^\s+\S/.test(lines[i + 1] ?? "")); i++)
      inside.push(lines[i].slice(Math.min(lines[i].search(/\S|$/), indent.length + 2)));
    const children = blocks(inside);
    if (children[0]?.nodeName === "P") children.splice(0, 1, ...children[0].childNodes);
    li.append(...children);
    node.append(li);
    if (i < lines.length && !lines[i].trim() && item.test(lines[i + 1] ?? "")) i++;
  }
  out.push(node);
  return i;
}

function quote(lines, i, out) {
  const body = [];
  for (; i < lines.length && /^ {0,3}>/.test(lines[i]); i++) body.push(lines[i].replace(/^ {0,3}> ?/, ""));
  out.push(make("blockquote", ...blocks(body)));
  return i;
}

function paragraph(lines, i, out) {
  const body = [];
  for (; i < lines.length && lines[i].trim() && !fence.test(lines[i]) && !(body.length && (item.test(lines[i]) || /^#{1,6}\s/.test(lines[i]))); i++)
    body.push(lines[i]);
  out.push(make("p", ...inline(body.join("\n"))));
  return i;
}

function blocks(lines) {
  const out = [];
  for (let i = 0; i < lines.length;) {
    const line = lines[i], heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (!line.trim()) i++;
    else if (fence.test(line)) i = code(lines, i, out);
    else if (heading) { out.push(make("h" + Math.min(6, heading[1].length + 1), ...inline(heading[2]))); i++; }
    else if (rule.test(line)) { out.push(make("hr")); i++; }
    else if (line.includes("|") && tableRule.test(lines[i + 1] ?? "")) i = table(lines, i, out);
    else if (/^ {0,3}>/.test(line)) i = quote(lines, i, out);
    else if (item.test(line)) i = list(lines, i, out);
    else i = paragraph(lines, i, out);
  }
  return out;
}

export const markdown = text => blocks(text.replace(/\r\n?/g, "\n").split("\n"));
