// A periodic table to choose from: a click allows an element, a second one excludes it, a third one leaves it free.
const NEXT = { free: "allowed", allowed: "excluded", excluded: "free" };
const WORDS = { free: "", allowed: ", allowed", excluded: ", excluded" };

function describe(cell, state) {
  if (!cell.known) return `${cell.name}: the model was not trained on it`;
  return `${cell.name}${cell.n === null ? "" : `: in ${cell.n.toLocaleString("en")} training crystals`}${WORDS[state]}`;
}

// the buttons, and the line that describes one; returns a function that fills them with a choice
function build(root, cells) {
  const state = {};
  let send = null;
  root.replaceChildren();
  const line = document.createElement("div");
  line.className = "hint";
  line.setAttribute("aria-live", "polite");
  line.textContent = "Click to allow, twice to exclude, three times to leave free.";
  root.appendChild(line);
  const grid = document.createElement("div");
  grid.className = "grid";
  root.appendChild(grid);
  const most = Math.log1p(Math.max(1, ...cells.map((cell) => cell.n || 0)));
  const those = (wanted) => cells.map((one) => one.e).filter((e) => state[e] === wanted);
  const shows = cells.map((cell) => {
    const node = document.createElement("button");
    node.type = "button";
    node.textContent = cell.e;
    node.disabled = !cell.known;
    node.style.gridRow = String(cell.row);
    node.style.gridColumn = String(cell.column);
    node.style.setProperty("--seen", String(Math.log1p(cell.n || 0) / most));
    const show = () => { node.className = state[cell.e]; node.title = describe(cell, state[cell.e]); node.setAttribute("aria-label", node.title); };
    node.onmouseenter = () => { line.textContent = node.title; };
    node.onclick = () => {
      state[cell.e] = NEXT[state[cell.e]];
      show();
      line.textContent = node.title;
      send({ allowed: those("allowed"), excluded: those("excluded") });
    };
    grid.appendChild(node);
    return show;
  });
  return (data, tell) => {
    send = tell;
    for (const { e } of cells) state[e] = data.allowed.includes(e) ? "allowed" : data.excluded.includes(e) ? "excluded" : "free";
    for (const show of shows) show();
  };
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".pt");
  if (!root) return;
  const same = JSON.stringify(data.cells);
  if (same !== root.__same) Object.assign(root, { __same: same, __fill: build(root, data.cells) }); // new buttons would lose the focus
  root.__fill(data, (chosen) => setTriggerValue("chosen", chosen));
}
