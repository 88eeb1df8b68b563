// Predicted properties of one crystal: value, unit, interval, known value, and where the value lies among the training values.
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 100, HEIGHT = 26;

function cell(parent, name, text) {
  const node = document.createElement("span");
  node.className = name;
  node.textContent = text;
  parent.appendChild(node);
  return node;
}

function shape(parent, name, x, y, width, height) {
  const node = document.createElementNS(SVG, "rect");
  for (const [key, value] of Object.entries({ class: name, x, y, width, height })) node.setAttribute(key, String(value));
  parent.appendChild(node);
}

function strip(parent, data) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", data.words);
  const title = document.createElementNS(SVG, "title");
  title.textContent = data.words;
  svg.appendChild(title);
  if (data.band) shape(svg, "band", WIDTH * data.band[0], 0, WIDTH * (data.band[1] - data.band[0]), HEIGHT);
  for (const [left, width, height] of data.bars) {
    shape(svg, "bar", WIDTH * left, HEIGHT * (1 - height), WIDTH * width, HEIGHT * height);
  }
  const tick = document.createElementNS(SVG, "line");
  const x = WIDTH * data.tick;
  for (const [key, value] of Object.entries({ class: "tick", x1: x, x2: x, y1: -2, y2: HEIGHT })) tick.setAttribute(key, String(value));
  svg.appendChild(tick);
  parent.appendChild(svg);
}

function line(grid, row) {
  const node = document.createElement("div");
  node.className = "line";
  grid.appendChild(node);
  const title = cell(node, "title", row.title);
  const info = document.createElement("button");
  info.type = "button";
  info.className = "info";
  info.textContent = "i";
  info.dataset.note = row.note;
  info.setAttribute("aria-label", row.note);
  title.appendChild(info);
  cell(node, "value", row.value);
  cell(node, "unit", row.unit);
  cell(node, "interval", row.interval);
  const known = cell(node, "known", row.known);
  if (row.knownOf) cell(known, "of", ` ${row.knownOf}`);
  const place = cell(node, "place", "");
  if (row.strip) strip(place, row.strip);
}

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".xp");
  if (!root) return;
  const same = JSON.stringify(data);
  if (same === root.__same) return;
  root.__same = same;
  const grid = document.createElement("div");
  grid.className = "grid";
  const head = document.createElement("div");
  head.className = "line head";
  grid.appendChild(head);
  const has = (key) => data.rows.some((row) => row[key]);
  cell(head, "title", "");
  cell(head, "value", "");
  cell(head, "unit", "");
  cell(head, "interval", has("interval") ? "90 % interval" : "");
  cell(head, "known", has("known") ? "closest known" : "");
  cell(head, "place", has("strip") ? "among training values" : "");
  for (const row of data.rows) line(grid, row);
  root.replaceChildren(grid);
  root.dataset.rows = String(data.rows.length);
}
