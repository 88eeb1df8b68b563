// A periodic table to choose from: a click allows an element, a second one excludes it, a third one leaves it free.
const NEXT = { free: "allowed", allowed: "excluded", excluded: "free" };
const WORDS = { free: "", allowed: ", allowed", excluded: ", excluded" };

function describe(cell, state) {
  if (!cell.known) return `${cell.name}: the model was not trained on it`;
  return `${cell.name}${cell.n === null ? "" : `: in ${cell.n.toLocaleString("en")} training crystals`}${WORDS[state]}`;
}

const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

// the nearest element in this direction that can be chosen, else the same one
function beside(cells, from, [down, right]) {
  const ahead = (cell) => (cell.row - from.row) * down + (cell.column - from.column) * right;
  const aside = (cell) => Math.abs((cell.row - from.row) * right) + Math.abs((cell.column - from.column) * down);
  const open = cells.filter((cell) => cell.known && ahead(cell) > 0 && (right === 0 || cell.row === from.row));
  return open.sort((x, y) => ahead(x) + 2 * aside(x) - ahead(y) - 2 * aside(y))[0] || from;
}

// the buttons with the choice of the fields, and the line that describes one; returns a function that takes the sender
function build(root, data) {
  const { cells } = data, state = {};
  let send = null;
  root.replaceChildren();
  const line = document.createElement("div");
  line.className = "hint";
  line.setAttribute("aria-live", "polite");
  const arrows = matchMedia("(pointer: coarse)").matches ? "" : " Arrow keys move.";
  line.textContent = `Click to allow, twice to exclude, three times to leave free.${arrows}`;
  root.appendChild(line);
  const grid = document.createElement("div");
  grid.className = "grid";
  root.appendChild(grid);
  const most = Math.log1p(Math.max(1, ...cells.map((cell) => cell.n || 0)));
  const those = (wanted) => cells.map((one) => one.e).filter((e) => state[e] === wanted);
  const nodes = new Map(); // of the elements
  const first = cells.find((cell) => cell.known);
  for (const cell of cells) {
    const node = document.createElement("button");
    node.type = "button";
    node.textContent = cell.e;
    node.disabled = !cell.known;
    node.tabIndex = cell === first ? 0 : -1; // one stop of the Tab key for all of them
    nodes.set(cell.e, node);
    node.style.gridRow = String(cell.row);
    node.style.gridColumn = String(cell.column);
    node.style.setProperty("--seen", String(Math.log1p(cell.n || 0) / most));
    const show = () => { node.className = state[cell.e]; node.title = describe(cell, state[cell.e]); node.setAttribute("aria-label", node.title); };
    node.onmouseenter = () => { line.textContent = node.title; };
    node.onfocus = () => {
      line.textContent = node.title;
      for (const other of nodes.values()) other.tabIndex = other === node ? 0 : -1;
    };
    node.onkeydown = (event) => {
      if (!(event.key in MOVES) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      nodes.get(beside(cells, cell, MOVES[event.key]).e).focus();
    };
    node.onclick = () => {
      state[cell.e] = NEXT[state[cell.e]];
      show();
      line.textContent = node.title;
      send({ allowed: those("allowed"), excluded: those("excluded") });
    };
    grid.appendChild(node);
    state[cell.e] = data.allowed.includes(cell.e) ? "allowed" : data.excluded.includes(cell.e) ? "excluded" : "free";
    show();
  }
  return (tell) => { send = tell; };
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".pt");
  if (!root) return;
  const same = JSON.stringify(data.cells);
  // built once: new buttons would lose the focus, and an answer on its way does not know the last clicks
  if (same !== root.__same) Object.assign(root, { __same: same, __sendWith: build(root, data) });
  Object.assign(root.dataset, { allowed: data.allowed.join("-"), excluded: data.excluded.join("-") }); // as the page knows it
  root.__sendWith((chosen) => setTriggerValue("chosen", chosen));
}
