// A periodic table to choose from: a click allows an element, a second one excludes it, a third one leaves it free.
const NEXT = { free: "allowed", allowed: "excluded", excluded: "free" };
const WORDS = { free: "", allowed: ", allowed", excluded: ", excluded" };

function told(cell, state) {
  if (!cell.known) return `${cell.name}: the model was not trained on it`;
  return `${cell.name}${cell.n === null ? "" : `: in ${cell.n.toLocaleString("en")} training crystals`}${WORDS[state]}`;
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".pt");
  if (!root) return;
  root.replaceChildren();
  const state = Object.fromEntries(data.cells.map((cell) => [cell.e, data.allowed.includes(cell.e) ? "allowed" : data.excluded.includes(cell.e) ? "excluded" : "free"]));
  const line = document.createElement("div");
  line.className = "told";
  line.setAttribute("aria-live", "polite");
  line.textContent = "Click to allow, twice to exclude, three times to leave free.";
  root.appendChild(line);
  const grid = document.createElement("div");
  grid.className = "grid";
  root.appendChild(grid);
  const most = Math.log1p(Math.max(1, ...data.cells.map((cell) => cell.n || 0)));
  for (const cell of data.cells) {
    const node = document.createElement("button");
    node.type = "button";
    node.textContent = cell.e;
    node.disabled = !cell.known;
    node.style.gridRow = String(cell.row);
    node.style.gridColumn = String(cell.column);
    node.style.setProperty("--seen", String(Math.log1p(cell.n || 0) / most));
    const show = () => { node.className = state[cell.e]; node.title = told(cell, state[cell.e]); node.setAttribute("aria-label", node.title); };
    node.onmouseenter = () => { line.textContent = node.title; };
    node.onclick = () => {
      state[cell.e] = NEXT[state[cell.e]];
      show();
      line.textContent = node.title;
      const those = (wanted) => data.cells.map((one) => one.e).filter((e) => state[e] === wanted);
      setTriggerValue("chosen", { allowed: those("allowed"), excluded: those("excluded") });
    };
    show();
    grid.appendChild(node);
  }
}
