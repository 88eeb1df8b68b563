const LEGEND = 40; // pixels at the lower edge
const ROUND = 15000; // ms that a full turn takes

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

const KEYS = "Click the picture first. A, B, X: along a, b, c · 0: first view · S: style · P: polyhedra · L: labels · M: measure";
const KEYS_TITLE = "Keys of the picture (Shift+H)";
const PLAYED = " · Space, ←, →: play and step";

// a sign alone tells a screen reader nothing; a phone has no keys
function asKeys(node) {
  node.setAttribute("aria-label", KEYS_TITLE);
  node.hidden = matchMedia("(pointer: coarse)").matches;
}

function build(root, send) {
  const view = {
    root, send, style: "ball", palette: "VESTA", polyhedra: true, labels: false, axes: true, moments: true, images: true, complete: null, spin: false,
    measuring: false, picked: [], repeat: [1, 1, 1], hidden: new Set(), frame: -1, projection: "perspective", selected: null, fine: true,
    leaving: new AbortController(), keys: {},
  };
  view.stage = element("div", "stage", root);
  view.canvas = element("div", "canvas", view.stage);
  view.canvas.setAttribute("role", "img"); // not the stage: screen readers skip the contents of an image, and the legend must be read
  view.canvas.tabIndex = 0;
  view.marks = element("canvas", "marks", view.stage);
  view.marks.setAttribute("aria-hidden", "true");
  view.legend = element("div", "legend", view.stage);
  view.note = element("div", "note", view.stage);
  view.note.setAttribute("aria-live", "polite");
  view.limit = element("div", "limit", view.stage);
  view.player = element("div", "bar", root);
  view.bar = element("div", "bar", root);
  view.more = element("div", "bar more", root);
  view.more.hidden = true;
  toolbar(view);
  view.canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return; // the browser's own
    const act = {
      a: () => along(view, 0), b: () => along(view, 1), x: () => along(view, 2), 0: () => draw(view, home), p: () => view.toggles.polyhedra.click(),
      l: () => view.toggles.labels.click(), m: () => view.toggles.measuring.click(), s: () => nextStyle(view),
      " ": () => view.play && view.play(), arrowleft: () => view.step && view.step(-1), arrowright: () => view.step && view.step(1),
      escape: () => { view.picked = []; if (view.toggles.help.getAttribute("aria-pressed") === "true") view.toggles.help.click(); else draw(view); },
      h: event.shiftKey && (() => view.toggles.help.click()), ...view.keys,
    }[event.key.toLowerCase()];
    // Streamlit has single-letter shortcuts of its own
    if (act) { act(); event.stopPropagation(); event.preventDefault(); }
  });
  // a list elsewhere in the page opens at the first press only where nothing in a shadow root holds the focus
  document.addEventListener("pointerdown", (event) => { if (!event.composedPath().includes(root)) root.getRootNode().activeElement?.blur(); },
    { capture: true, signal: view.leaving.signal });
  view.canvas.addEventListener("pointerdown", () => {
    view.canvas.focus({ preventScroll: true }); // the library keeps a press from giving the focus, without which no key is heard
    if (view.pace.slow) quality(view, false);
  });
  document.addEventListener("pointerup", () => { if (!view.spin) settle(view); }, { signal: view.leaving.signal });
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
  view.styleSelect = choice(view.bar, "Style", [["ball", "Ball and stick"], ["stick", "Sticks"], ["space", "Space-filling"], ["poly", "Small balls"]], view.style, (value) => { setStyle(view, value); });
  view.styleSelect.previousSibling.remove(); // its choices say what it is; the bar stays one line
  toggle(view.bar, "Polyhedra", "polyhedra", "Coordination polyhedra (P)");
  toggle(view.bar, "Labels", "labels", "Element and site number (L)");
  toggle(view.bar, "Moments", "moments", "Magnetic moments as arrows");
  toggle(view.bar, "Measure", "measuring", "Distance, angle, torsion between clicked atoms (M)", () => { view.picked = []; });
  const directions = element("span", "together", view.bar);
  ["a", "b", "c"].forEach((axis, k) => button(directions, axis, `Look along ${axis}`, () => along(view, k)));
  button(view.bar, "Reset", "First view (0)", () => draw(view, home));
  const open = button(view.bar, "More", "Supercell, colours, image files", () => {
    view.more.hidden = !view.more.hidden;
    open.setAttribute("aria-expanded", String(!view.more.hidden));
  });
  open.setAttribute("aria-expanded", "false");
  toggle(view.bar, "?", "help", KEYS_TITLE);
  asKeys(view.toggles.help);

  const cells = element("span", "field", view.more, "Supercell ");
  view.counts = ["a", "b", "c"].map((axis, k) => {
    const input = element("input", "count", cells);
    Object.assign(input, { type: "number", min: 1, max: 4, value: 1 });
    input.setAttribute("aria-label", `Cells along ${axis}`);
    input.onchange = () => {
      view.repeat[k] = Math.max(1, Math.min(4, Math.round(Number(input.value)) || 1));
      input.value = view.repeat[k];
      draw(view, home);
    };
    return input;
  });
  choice(view.more, "Colours", [["VESTA", "VESTA"], ["Jmol", "Jmol"], ["Colour-blind safe", "Colour-blind safe"]], view.palette, (value) => { view.palette = value; legend(view); draw(view); });
  toggle(view.more, "Axes", "axes");
  toggle(view.more, "Images on faces", "images", "Repeat atoms of one face on the opposite one");
  toggle(view.more, "Whole polyhedra", "complete", "Also draw the neighbours outside the cell that polyhedra need");
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) toggle(view.more, "Spin", "spin", "", () => turning(view));
  choice(view.more, "Projection", [["perspective", "Perspective"], ["orthographic", "Parallel"]], view.projection, (value) => {
    view.projection = value;
    view.gl.setProjection(value);
    draw(view, refit);
  });
  const scale = choice(view.more, "Image", [["1", "1×"], ["2", "2×"], ["4", "4×"]], "2", () => {});
  const clear = element("label", "field", view.more);
  const box = element("input", "", clear);
  box.type = "checkbox";
  element("span", "", clear, "transparent");
  button(view.more, "Save PNG", "", async () => {
    const link = document.createElement("a");
    link.href = await image(view, Number(scale.value), box.checked);
    link.download = "crystal.png";
    link.click();
  });
}

// a forming cell grows, shrinks and wanders: follow it, but leave the camera alone while it stays about where it was
function follow(view) {
  if (view.following) { view.following(); return; } // one of several beside each other, which keep one scale
  const scene = view.current, middle = at(scene.lattice, [0.5, 0.5, 0.5]);
  const radius = Math.max(...[[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]].map((f) => Math.hypot(...minus(at(scene.lattice, f), middle))));
  const last = view.framed;
  if (last && Math.abs(radius / last.radius - 1) < 0.15 && Math.hypot(...minus(middle, last.middle)) < 0.2 * radius) return;
  view.framed = { radius, middle };
  if (last) refit(view);
}

function nextStyle(view) {
  const order = ["ball", "stick", "space", "poly"];
  setStyle(view, order[(order.indexOf(view.style) + 1) % order.length]);
}

// balls of another size need another distance: only where the reader has not moved the camera
function setStyle(view, style) {
  const untouched = view.fitted === String(view.gl.getView());
  view.styleSelect.value = view.style = style;
  draw(view, untouched ? refit : null);
}

// round and round; on a slow machine in larger steps
function turning(view) {
  cancelAnimationFrame(view.spinning);
  if (!view.spin) { settle(view); return; }
  let last = performance.now();
  const tick = (now) => {
    if (view.turnsUntil && (now > view.turnsUntil || view.pace.slow)) { rest(view); return; }
    if (view.pace.free(PLAYING)) {
      const angle = Math.min(30, (now - last) * 0.024);
      last = now;
      view.pace.ask((done) => { quality(view, !view.pace.slow); quietly(view.gl, () => turn(view.gl, view.current.lattice, angle)); view.gl.render(); whenDrawn(view.gl, done); }, PLAYING);
    }
    view.spinning = requestAnimationFrame(tick);
  };
  view.spinning = requestAnimationFrame(tick);
}

// a picture that invites turns once; a slow machine and a reader who dislikes motion see it still
function turnOnce(view) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  view.spin = true;
  view.turnsUntil = performance.now() + ROUND;
  view.canvas.addEventListener("pointerdown", () => rest(view), { once: true });
  turning(view);
}

function rest(view) {
  view.turnsUntil = 0;
  view.spin = false;
  turning(view);
}

// smooth edges cost four times the pixels: a picture that moves on a slow machine does without
function quality(view, fine) {
  if (view.fine === fine) return;
  view.fine = fine;
  view.gl.getRenderer()._upscale = fine;
  view.gl.updateSize();
}

function settle(view) {
  if (view.fine) return;
  quality(view, true);
  view.gl.render();
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
  }, { signal: view.leaving.signal });
}

const paper = (view) => css(view, "--st-background-color", "#ffffff");
const css = (view, name, otherwise) => getComputedStyle(view.root).getPropertyValue(name).trim() || otherwise;

// move the camera; nothing is drawn yet
function moved(view, move) {
  const { width, height } = view.stage.getBoundingClientRect();
  quietly(view.gl, () => move(view.gl, { width, height, below: view.inviting ? 0 : LEGEND }));
  view.box = `${width} ${height}`;
  view.fitted = String(view.gl.getView());
}

// a phone that is turned, a window of another size: the whole crystal again, unless the reader has moved the camera
function resized(view) {
  const { width, height } = view.stage.getBoundingClientRect();
  if (!width || view.following || view.box === undefined || view.box === `${width} ${height}`) return;
  if (view.fitted !== String(view.gl.getView())) return;
  refit(view);
  view.gl.render();
}

const refit = (view) => moved(view, (gl, box) => fit(gl, box, view.current, view.block, options(view)));
const home = (view) => moved(view, (gl, box) => homeView(gl, box, view.current, view.block, options(view)));
const along = (view, k) => { alongAxis(view.gl, view.current.lattice, k); refit(view); view.gl.render(); };

function options(view) {
  return {
    style: view.style, palette: view.palette, polyhedra: view.polyhedra, solid: view.inviting, labels: view.labels, axes: view.axes, moments: view.moments, hidden: view.hidden,
    repeat: view.repeat, ink: css(view, "--st-text-color", "#333333"), paper: paper(view), selected: view.selected, projection: view.projection,
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
  const background = { color: paper(view), alpha: transparent ? 0 : 1 };
  const look = { ...options(view), scale, onAtom: null };
  return aside(window.$3Dmol, size, (gl) => picture(gl, view.current, view.block, look, size, view.gl.getView(), background, () => drawMeasure(gl, view.picked, scale)))
    .then((uri) => withMarks(view, uri, scale));
}

// what the scene is, into the viewer; nothing is drawn yet
function compose(view) {
  const gl = view.gl, scene = view.current;
  // no polyhedra asked for: no atoms outside the cell for their sake
  view.block = expand(scene, view.repeat, view.images, view.polyhedra ? (view.complete ? true : null) : false);
  quietly(gl, () => {
    gl.removeAllShapes();
    gl.removeAllLabels();
    gl.setBackgroundColor(paper(view), 1);
    drawScene(gl, scene, view.block, options(view));
    drawMeasure(gl, view.picked, 1);
  });
  view.note.textContent = view.help ? KEYS + (view.play ? PLAYED : "") : view.measuring ? measured(view.picked) : "";
  view.limit.textContent = view.block.atoms.length >= MAX_DRAWN ? `Only the first ${MAX_DRAWN} atoms are drawn.` : "";
}

function report(view) {
  view.root.dataset.rendered = String(view.block.atoms.length);
  view.root.dataset.bonds = String(view.block.bonds.length);
  view.root.dataset.polyhedra = String(view.block.polyhedra.length);
  view.root.dataset.frame = String(view.frame);
}

// at once: the reader changed something; camera: what moves it
function draw(view, camera) {
  const began = performance.now();
  compose(view);
  if (camera) camera(view);
  quality(view, true);
  view.gl.render();
  report(view);
  whenDrawn(view.gl, () => { view.pace.tell(performance.now() - began); timed(view); });
}

const timed = (view) => { view.root.dataset.ms = String(Math.round(view.pace.cost)); };

// when the machine has time for it: a frame of something that moves
function drawNext(view, scene, share, before) {
  view.pace.ask((done) => {
    view.current = scene;
    if (before) before();
    compose(view);
    follow(view);
    quality(view, !view.pace.slow);
    view.gl.render();
    report(view);
    whenDrawn(view.gl, () => { done(); timed(view); });
  }, share);
}

function legend(view) {
  view.legend.replaceChildren();
  const colours = coloursOf(view.current, view.palette, paper(view));
  for (const entry of view.current.legend) {
    const node = button(view.legend, "", `Show or hide ${entry.e}`, () => {
      if (view.hidden.has(entry.e)) view.hidden.delete(entry.e); else view.hidden.add(entry.e);
      node.setAttribute("aria-pressed", String(!view.hidden.has(entry.e)));
      draw(view);
      if (view.hiding) view.hiding();
    });
    node.setAttribute("aria-pressed", String(!view.hidden.has(entry.e)));
    element("span", "dot", node).style.background = colours[entry.e];
    element("span", "", node, entry.e);
  }
}

function open($3Dmol, root, data) {
  const view = build(root, (name, value) => view.trigger(name, value));
  view.stage.style.height = `clamp(240px, 100vh - ${data.rest}px, ${data.height}px)`;
  const { gl, close } = openViewer($3Dmol, view.canvas, { antialias: true });
  view.gl = gl;
  gl.setViewChangeCallback(() => paint(view));
  view.pace = makePace({
    now: () => performance.now(), later: (act, ms) => setTimeout(act, ms), forget: clearTimeout, hidden: () => document.hidden,
  });
  document.addEventListener("visibilitychange", () => view.pace.next(), { signal: view.leaving.signal });
  const watching = new ResizeObserver(() => resized(view));
  watching.observe(view.stage);
  view.close = () => {
    watching.disconnect();
    cancelAnimationFrame(view.timer);
    cancelAnimationFrame(view.spinning);
    view.pace.stop();
    view.leaving.abort();
    close();
    root.__view = null;
  };
  root.getView = () => view.gl.getView();
  root.getImage = (scale, transparent) => image(view, scale, transparent);
  root.getAtoms = () => view.block.atoms.map((atom) => ({ e: atom.e, site: atom.site, p: atom.p }));
  root.pick = (k) => options(view).onAtom(view.block.atoms[k]);
  return view;
}

function update(view, data, setTriggerValue) {
  view.trigger = data.report ? setTriggerValue : () => {};
  const elements = data.scene.legend.map((entry) => entry.e).join();
  const same = JSON.stringify([data.scene, data.frames && data.frames.length]);
  const look = JSON.stringify([same, data.selected, paper(view), css(view, "--st-text-color", "")]);
  if (look === view.look) return; // the page ran again and nothing changed here
  const changed = elements !== view.elements, fresh = view.look === undefined;
  view.look = look;
  view.selected = data.selected;
  const adopt = () => {
    Object.assign(view, { elements, picked: [] });
    if (changed) { view.hidden = new Set(); legend(view); }
    view.canvas.setAttribute("aria-label", data.scene.sentence);
    view.stage.classList.toggle("tinted", Boolean(data.scene.colouring)); // colours mean no elements then
    view.toggles.moments.hidden = !data.scene.moments;
  };
  // new crystals change their elements while they form: no reason to hurry or to move the camera
  if (data.live && !fresh) { view.same = same; drawNext(view, data.scene, ALONGSIDE, adopt); return; }
  if (same !== view.same) {
    Object.assign(view, { same, current: data.scene });
    adopt();
    player(view, data.frames);
  }
  if (view.paper !== paper(view)) { // another theme, other colours
    view.paper = paper(view);
    legend(view);
  }
  view.inviting = Boolean(data.inviting);
  view.root.classList.toggle("inviting", view.inviting);
  draw(view, fresh || changed ? first : follow);
  if (fresh && data.inviting) turnOnce(view);
}

const first = (view) => { home(view); follow(view); };
