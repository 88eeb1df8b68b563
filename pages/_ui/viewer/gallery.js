// Cards with pictures: one viewer aside draws each crystal once, the cards hold plain images.
const TONES = { good: "✓", bad: "✗", open: "·", known: "✓" }; // a sign and a word, never the colour alone
const CARD = { width: 240, height: 180, smooth: true };

function card(root, item, k, choose) {
  const node = element("button", item.provisional ? "provisional" : "", root);
  node.type = "button";
  node.onclick = () => choose(k);
  const blank = element("div", "blank", node);
  const words = element("span", "words", node);
  const head = element("span", "head", words);
  element("span", "title", head, item.title);
  if (item.many > 1) element("span", "many", head, `×${item.many}`);
  for (const [sign, words] of item.signs || []) signed(head, sign, words);
  if (item.bar) bar(words, item.bar, item.name);
  else if (item.name) element("span", "name", words, item.name);
  element("span", "caption", words, item.caption);
  if (item.badges) {
    const row = element("span", "badges", words);
    for (const [tone, text] of item.badges) element("span", `badge ${tone}`, row, `${TONES[tone]} ${text}`);
  }
  if (item.mark) { // a line ends between its parts, not within a date
    const mark = element("span", "mark", words);
    item.mark.split(", ").forEach((part, k, all) => { element("span", "", mark, k < all.length - 1 ? `${part},` : part); mark.append(" "); });
  }
  return { node, blank };
}

// a sign alone tells nobody anything: its words come on hover and to a screen reader
function signed(parent, sign, words) {
  const node = element("span", "sign", parent, sign);
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", words);
  node.title = words;
}

// the name of the arrangement and the energy share a line: a strip below a crystal has little height
function bar(parent, { share, text, title }, name) {
  const node = element("span", "energy", parent), line = element("span", "line", node);
  node.title = title;
  if (name) element("span", "name", line, name);
  element("span", "", line, text);
  element("span", "filled", element("span", "track", node)).style.width = `${Math.round(100 * share)}%`;
}

const named = (item, look) => JSON.stringify([item.scene.lattice, item.scene.sites, look]);

async function fill($3Dmol, cards, items, look, alive) {
  const pictures = (window.__crystalPictures = window.__crystalPictures || new Map());
  const place = (k) => {
    const image = document.createElement("img");
    image.src = pictures.get(named(items[k], look));
    image.alt = items[k].scene.sentence;
    cards[k].blank.replaceWith(image);
  };
  const missing = [];
  items.forEach((item, k) => { if (pictures.has(named(item, look))) place(k); else missing.push(k); });
  if (!missing.length) return;
  await aside($3Dmol, CARD, async (gl) => { // one viewer for all: preparing one costs more than a picture
    for (const k of missing) {
      await new Promise((done) => setTimeout(done, 0)); // the page stays alive between two pictures
      if (!alive()) return;
      const scene = items[k].scene, repeat = [1, 1, 1];
      const options = { style: "ball", palette: "VESTA", polyhedra: true, solid: true, hidden: new Set(), repeat, ink: look.ink, paper: look.paper };
      pictures.set(named(items[k], look), picture(gl, scene, expand(scene, repeat, true, null), options, CARD, null, { color: look.paper, alpha: 0 }));
      if (pictures.size > 200) pictures.delete(pictures.keys().next().value);
      place(k);
    }
  });
}

export default function (component) {
  const { data, parentElement, setStateValue, setTriggerValue } = component;
  const root = parentElement.querySelector(".xg");
  if (!root) return;
  const style = getComputedStyle(root);
  const look = { ink: style.getPropertyValue("--st-text-color").trim() || "#333", paper: style.getPropertyValue("--st-background-color").trim() || "#fff" };
  const mark = (chosen) => data.opens || [...root.children].forEach((node, k) => node.setAttribute("aria-pressed", String(k === chosen)));
  const same = JSON.stringify([data.items, look]);
  if (same !== root.__same) {
    root.__same = same;
    const left = root.scrollLeft, nodes = [...root.children], focused = nodes.indexOf(root.getRootNode().activeElement);
    root.replaceChildren();
    delete root.dataset.pictures;
    const cards = data.items.map((item, k) => card(root, item, k, (chosen) => {
      if (data.opens) { setTriggerValue("opened", chosen); return; }
      mark(chosen);
      setStateValue("selected", data.items[chosen].id);
    }));
    // another order, or more of it: the reader stays where they are
    root.scrollLeft = left;
    if (focused >= 0) root.children[Math.min(focused, cards.length - 1)]?.focus({ preventScroll: true });
    library()
      .then(($3Dmol) => fill($3Dmol, cards, data.items, look, () => root.__same === same && root.isConnected))
      .then(() => { root.dataset.pictures = String(data.items.length); })
      .catch((error) => { root.dataset.error = error.message; });
  }
  root.classList.toggle("opens", Boolean(data.opens));
  root.classList.toggle("strip", Boolean(data.strip));
  mark(data.selected);
}
