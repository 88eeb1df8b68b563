const SPEEDS = [0.5, 1, 2, 4];

function button(parent, text, title, action) {
  const node = element("button", "", parent, text);
  node.type = "button";
  if (title) node.title = title;
  node.onclick = action;
  return node;
}

function choice(parent, label, options, value, action) {
  const wrap = element("label", "field", parent, label + " ");
  const select = element("select", "", wrap);
  for (const [key, text] of options) element("option", "", select, text).value = key;
  select.value = value;
  select.setAttribute("aria-label", label);
  select.onchange = () => action(select.value);
  return select;
}

function build(root, send) {
  const view = {
    root, send, style: "ball", palette: "VESTA", polyhedra: true, labels: false, axes: true, images: true, complete: null, spin: false,
    measuring: false, picked: [], repeat: [1, 1, 1], hidden: new Set(), frame: -1, projection: "perspective", selected: null,
  };
  view.stage = element("div", "stage", root);
  view.stage.setAttribute("role", "img");
  view.stage.tabIndex = 0;
  view.canvas = element("div", "canvas", view.stage);
  view.legend = element("div", "legend", view.stage);
  view.note = element("div", "note", view.stage);
  view.note.setAttribute("aria-live", "polite");
  view.player = element("div", "bar", root);
  view.bar = element("div", "bar", root);
  view.more = element("div", "bar more", root);
  view.more.hidden = true;
  toolbar(view);
  view.stage.addEventListener("keydown", (event) => {
    const act = {
      a: () => alongAxis(view.gl, view.current.lattice, 0), b: () => alongAxis(view.gl, view.current.lattice, 1),
      x: () => alongAxis(view.gl, view.current.lattice, 2), 0: () => home(view), p: () => view.toggles.polyhedra.click(),
      l: () => view.toggles.labels.click(), m: () => view.toggles.measuring.click(), s: () => nextStyle(view),
      " ": () => view.play && view.play(), arrowleft: () => view.step && view.step(-1), arrowright: () => view.step && view.step(1),
      escape: () => { view.picked = []; draw(view); },
    }[event.key.toLowerCase()];
    // Streamlit has single-letter shortcuts of its own
    if (act) { act(); event.stopPropagation(); event.preventDefault(); }
  });
  if (matchMedia("(pointer: coarse)").matches) tapToTurn(view);
  return view;
}

function toolbar(view) {
  view.toggles = {};
  const toggle = (parent, text, name, title, after) => {
    const node = button(parent, text, title, () => {
      view[name] = !view[name];
      node.setAttribute("aria-pressed", String(view[name]));
      if (after) after();
      draw(view);
    });
    node.setAttribute("aria-pressed", String(Boolean(view[name])));
    view.toggles[name] = node;
  };
  view.styleSelect = choice(view.bar, "Style", [["ball", "Ball and stick"], ["stick", "Sticks"], ["space", "Space-filling"], ["poly", "Small balls"]], view.style, (value) => { view.style = value; draw(view); });
  toggle(view.bar, "Polyhedra", "polyhedra", "Coordination polyhedra (P)");
  toggle(view.bar, "Labels", "labels", "Element and site number (L)");
  toggle(view.bar, "Measure", "measuring", "Distance, angle, torsion between clicked atoms (M)", () => { view.picked = []; });
  ["a", "b", "c"].forEach((axis, k) => button(view.bar, axis, `Look along ${axis}`, () => alongAxis(view.gl, view.current.lattice, k)));
  button(view.bar, "Reset", "First view (0)", () => home(view));
  const open = button(view.bar, "More", "Supercell, colours, image files", () => {
    view.more.hidden = !view.more.hidden;
    open.setAttribute("aria-expanded", String(!view.more.hidden));
  });
  open.setAttribute("aria-expanded", "false");

  const cells = element("span", "field", view.more, "Supercell ");
  view.counts = ["a", "b", "c"].map((axis, k) => {
    const input = element("input", "count", cells);
    Object.assign(input, { type: "number", min: 1, max: 4, value: 1 });
    input.setAttribute("aria-label", `Cells along ${axis}`);
    input.onchange = () => {
      view.repeat[k] = Math.max(1, Math.min(4, Math.round(Number(input.value)) || 1));
      input.value = view.repeat[k];
      draw(view);
      home(view);
    };
    return input;
  });
  choice(view.more, "Colours", [["VESTA", "VESTA"], ["Jmol", "Jmol"], ["Colour-blind safe", "Colour-blind safe"]], view.palette, (value) => { view.palette = value; legend(view); draw(view); });
  toggle(view.more, "Axes", "axes");
  toggle(view.more, "Images on faces", "images", "Repeat atoms of one face on the opposite one");
  toggle(view.more, "Whole polyhedra", "complete", "Also draw the neighbours outside the cell that polyhedra need");
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) toggle(view.more, "Spin", "spin", "", () => view.gl.spin(view.spin ? "y" : false, 0.6));
  choice(view.more, "Projection", [["perspective", "Perspective"], ["orthographic", "Parallel"]], view.projection, (value) => {
    view.projection = value;
    view.gl.setProjection(value);
    view.gl.render();
  });
  const scale = choice(view.more, "Image", [["1", "1×"], ["2", "2×"], ["4", "4×"]], "2", () => {});
  const clear = element("label", "field", view.more);
  const box = element("input", "", clear);
  box.type = "checkbox";
  element("span", "", clear, "transparent");
  button(view.more, "Save PNG", "", () => {
    const link = document.createElement("a");
    link.href = image(view, Number(scale.value), box.checked);
    link.download = "crystal.png";
    link.click();
  });
}

// a forming cell grows, shrinks and wanders: follow it, but leave the camera alone while it stays about where it was
function follow(view) {
  const scene = view.current, middle = at(scene.lattice, [0.5, 0.5, 0.5]);
  const radius = Math.max(...[[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]].map((f) => Math.hypot(...minus(at(scene.lattice, f), middle))));
  const last = view.framed;
  if (last && Math.abs(radius / last.radius - 1) < 0.15 && Math.hypot(...minus(middle, last.middle)) < 0.2 * radius) return;
  view.framed = { radius, middle };
  if (last) fit(view.gl, view.stage.getBoundingClientRect());
}

function nextStyle(view) {
  const order = ["ball", "stick", "space", "poly"];
  view.styleSelect.value = view.style = order[(order.indexOf(view.style) + 1) % order.length];
  draw(view);
}

// on a touch screen one finger scrolls the page until the picture has been tapped
function tapToTurn(view) {
  const hint = element("div", "hint", view.stage, "Tap to turn");
  view.canvas.style.pointerEvents = "none";
  view.stage.addEventListener("click", () => { view.canvas.style.pointerEvents = "auto"; hint.hidden = true; });
  document.addEventListener("click", (event) => {
    if (event.composedPath().includes(view.stage)) return;
    view.canvas.style.pointerEvents = "none";
    hint.hidden = false;
  });
}

const css = (view, name, otherwise) => getComputedStyle(view.root).getPropertyValue(name).trim() || otherwise;
const home = (view) => homeView(view.gl, view.stage.getBoundingClientRect(), view.current.lattice);

function options(view) {
  return {
    style: view.style, palette: view.palette, polyhedra: view.polyhedra, labels: view.labels, axes: view.axes, hidden: view.hidden,
    repeat: view.repeat, ink: css(view, "--st-text-color", "#333333"), selected: view.selected, projection: view.projection,
    onAtom: (atom) => {
      view.send("picked", atom.site);
      if (!view.measuring) return;
      view.picked = view.picked.length === 4 ? [atom] : [...view.picked, atom];
      draw(view);
    },
  };
}

function image(view, scale, transparent) {
  const box = view.stage.getBoundingClientRect(), size = { width: Math.round(box.width * scale), height: Math.round(box.height * scale), smooth: false };
  const background = { color: css(view, "--st-background-color", "#ffffff"), alpha: transparent ? 0 : 1 };
  return picture(window.$3Dmol, view.current, view.block, options(view), size, view.gl.getView(), background);
}

function draw(view) {
  const gl = view.gl, scene = view.current;
  // no polyhedra asked for: no atoms outside the cell for their sake
  view.block = expand(scene, view.repeat, view.images, view.polyhedra ? (view.complete ? true : null) : false);
  gl.removeAllShapes();
  gl.removeAllLabels();
  gl.setBackgroundColor(css(view, "--st-background-color", "#ffffff"), 1);
  drawScene(gl, scene, view.block, options(view));
  drawMeasure(gl, view.picked);
  view.note.textContent = view.measuring ? measured(view.picked) : view.block.atoms.length >= MAX_DRAWN ? `Only the first ${MAX_DRAWN} atoms are drawn.` : "";
  gl.render();
  view.root.dataset.rendered = String(view.block.atoms.length);
  view.root.dataset.bonds = String(view.block.bonds.length);
  view.root.dataset.polyhedra = String(view.block.polyhedra.length);
  view.root.dataset.frame = String(view.frame);
}

function legend(view) {
  view.legend.replaceChildren();
  const colours = view.current.palettes[view.palette];
  for (const entry of view.current.legend) {
    const node = button(view.legend, "", `Show or hide ${entry.e}`, () => {
      if (view.hidden.has(entry.e)) view.hidden.delete(entry.e); else view.hidden.add(entry.e);
      node.setAttribute("aria-pressed", String(!view.hidden.has(entry.e)));
      draw(view);
    });
    node.setAttribute("aria-pressed", String(!view.hidden.has(entry.e)));
    element("span", "dot", node).style.background = colours[entry.e];
    element("span", "", node, entry.e);
  }
}

function player(view, frames) {
  view.player.replaceChildren();
  cancelAnimationFrame(view.timer);
  view.play = view.step = null;
  if (!frames || frames.length < 2) { view.frame = -1; return; }
  view.frame = frames.length - 1;
  const start = button(view.player, "▶ Play", "Play or pause (Space)", () => view.play());
  button(view.player, "‹", "One frame back", () => view.step(-1));
  button(view.player, "›", "One frame on", () => view.step(1));
  const slider = element("input", "", view.player);
  Object.assign(slider, { type: "range", min: 0, max: frames.length - 1, value: view.frame });
  slider.setAttribute("aria-label", "Moment of the path");
  const text = element("span", "", view.player, `${frames.length}/${frames.length}`);
  let playing = false, last = 0, speed = 1;
  choice(view.player, "Speed", SPEEDS.map((x) => [String(x), `${x}×`]), "1", (value) => { speed = Number(value); });
  const show = (k) => {
    view.frame = Math.max(0, Math.min(frames.length - 1, k));
    slider.value = view.frame;
    text.textContent = `${view.frame + 1}/${frames.length}`;
    view.current = frames[view.frame];
    draw(view);
    follow(view);
  };
  slider.oninput = () => show(Number(slider.value));
  const tick = (now) => {
    if (!playing) return;
    if (now - last > 90 / speed) { last = now; if (view.frame >= frames.length - 1) { view.play(); return; } show(view.frame + 1); }
    view.timer = requestAnimationFrame(tick);
  };
  view.step = (by) => show(view.frame + by);
  view.play = () => {
    playing = !playing;
    start.textContent = playing ? "❚❚ Pause" : "▶ Play";
    if (playing) { if (view.frame >= frames.length - 1) show(0); view.timer = requestAnimationFrame(tick); }
  };
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".xv");
  if (!root) return;
  library().then(($3Dmol) => {
    let view = root.__view;
    if (!view) {
      view = root.__view = build(root, (name, value) => view.trigger(name, value));
      view.stage.style.height = data.height + "px";
      view.gl = $3Dmol.createViewer(view.canvas, { minimumZoomToDistance: 0.1, antialias: true });
      root.getView = () => view.gl.getView();
      root.getImage = (scale, transparent) => image(view, scale, transparent);
      root.getAtoms = () => view.block.atoms.map((atom) => ({ e: atom.e, site: atom.site, p: atom.p }));
      root.pick = (k) => options(view).onAtom(view.block.atoms[k]);
      view.fresh = true;
      new ResizeObserver(() => view.gl.resize()).observe(view.stage);
    }
    view.trigger = data.report ? setTriggerValue : () => {};
    const same = JSON.stringify([data.scene, data.frames && data.frames.length]);
    const elements = data.scene.legend.map((entry) => entry.e).join();
    const changed = elements !== view.elements;
    view.selected = data.selected;
    if (same !== view.same) {
      Object.assign(view, { same, elements, current: data.scene, picked: [] });
      if (changed) view.hidden = new Set();
      view.stage.setAttribute("aria-label", data.scene.sentence);
      player(view, data.frames);
      legend(view);
    }
    draw(view);
    if (view.fresh || changed) { view.fresh = false; home(view); }
    follow(view);
  }).catch((error) => { root.dataset.error = error.message; root.textContent = error.message; });
  return () => {
    const view = root.__view;
    if (view) { cancelAnimationFrame(view.timer); view.gl.spin(false); }
  };
}
