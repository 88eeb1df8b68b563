// Several crystals side by side: one camera for all, one clock for their paths, one set of controls.
const STYLES = [["ball", "Ball and stick"], ["stick", "Sticks"], ["space", "Space-filling"], ["poly", "Small balls"]];
const GROWN = 0.15; // change of a cell's size at which the common scale is set anew

function pressed(parent, text, title, on, act) {
  const node = button(parent, text, title, () => {
    const now = node.getAttribute("aria-pressed") !== "true";
    node.setAttribute("aria-pressed", String(now));
    act(now);
  });
  node.setAttribute("aria-pressed", String(on));
  return node;
}

function openAll($3Dmol, root, data, tell) {
  const all = { root, tell, views: [], linked: data.look.linked !== false, at: data.look.at ?? 1, busy: false, sizes: [], playing: false };
  all.hidden = Object.fromEntries(Object.entries(data.look.hidden || {}).map(([letter, elements]) => [letter, new Set(elements)]));
  all.grid = element("div", "panes", root);
  all.grid.style.setProperty("--panes", String(data.panes.length));
  all.controls = element("div", "controls", root);
  all.clock = element("div", "clock", root);
  all.traces = element("div", "traces", root);
  for (let i = 0; i < data.panes.length; i++) {
    const pane = element("div", "pane", all.grid), head = element("div", "head", pane);
    const mark = element("span", "mark", head), name = element("span", "name", head);
    const view = open($3Dmol, element("div", "xv", pane), data);
    Object.assign(view, { mark, name, caption: element("div", "caption", pane), trigger: () => {}, following: () => rescale(all), hiding: () => say(all) });
    for (const bar of [view.bar, view.more, view.player]) bar.remove();
    view.gl.setViewChangeCallback(() => { paint(view); turned(all, view); });
    view.canvas.addEventListener("pointerdown", () => { all.dragged = true; });
    document.addEventListener("pointerup", () => { // also beside the picture
      if (!all.dragged) return;
      Object.assign(all, { dragged: false, moved: true });
      say(all);
    }, { signal: view.leaving.signal });
    view.canvas.addEventListener("wheel", () => { all.moved = true; clearTimeout(all.wheel); all.wheel = setTimeout(() => say(all), 400); }, { passive: true });
    view.canvas.addEventListener("keyup", () => say(all));
    view.play = () => play(all);
    view.step = (by) => step(all, by);
    all.views.push(view);
  }
  controlsOf(all, data.look);
  all.close = () => {
    cancelAnimationFrame(all.timer);
    all.views.forEach((view) => view.close());
    root.__all = null;
  };
  root.getViews = () => all.views.map((view) => view.gl.getView());
  root.goTo = (share) => { go(all, share); settleAll(all); };
  return all;
}

function controlsOf(all, look) {
  pressed(all.controls, "Link cameras", "Turn and zoom all crystals together", all.linked, (on) => {
    all.linked = on;
    if (on) { likeFirst(all); rescale(all, true); }
    say(all);
  });
  all.style = choice(all.controls, "Style", STYLES, look.style || "ball", (value) => {
    for (const view of all.views) view.style = value;
    drawAll(all, (view) => refit(view));
    say(all);
  });
  all.style.previousSibling.remove(); // its choices say what it is
  all.polyhedra = pressed(all.controls, "Polyhedra", "Coordination polyhedra (P)", look.polyhedra !== false, (on) => {
    for (const view of all.views) view.polyhedra = on;
    drawAll(all);
    say(all);
  });
  const directions = element("span", "together", all.controls);
  const axes = ["a", "b", "c"].map((axis, k) => button(directions, axis, `Look along ${axis}`, () => { apart(all, (view) => along(view, k)); likeFirst(all); rescale(all, true); say(all); }));
  const reset = button(all.controls, "Reset", "First view (0)", () => { apart(all, (view) => draw(view, home)); likeFirst(all); rescale(all, true); say(all); });
  const note = element("div", "keys", all.root);
  all.controls.after(note);
  note.setAttribute("aria-live", "polite");
  const help = pressed(all.controls, "?", KEYS_TITLE, false, (on) => { note.textContent = on ? KEYS + PLAYED : ""; });
  asKeys(help);
  // what the controls do to all crystals, their keys do too
  const keys = { a: () => axes[0].click(), b: () => axes[1].click(), x: () => axes[2].click(), 0: () => reset.click(), s: () => nextOf(all.style) };
  for (const view of all.views) {
    Object.assign(view, { style: look.style || "ball", polyhedra: look.polyhedra !== false });
    Object.assign(view.toggles, { polyhedra: all.polyhedra, help });
    view.keys = keys;
    view.styleSelect = all.style;
  }
}

function nextOf(select) {
  select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
  select.onchange();
}

// one camera: all turned as the first one is
function likeFirst(all) {
  if (!all.linked) return;
  const turn = all.views[0].gl.getView().slice(4);
  for (const view of all.views.slice(1)) quietly(view.gl, () => view.gl.setView([...view.gl.getView().slice(0, 4), ...turn]));
}

// each by itself, although the cameras are linked
function apart(all, act) {
  all.busy = true;
  try { all.views.forEach(act); } finally { all.busy = false; }
}

// the camera of one moved: the others turn with it and stand as far away, each before its own crystal
function turned(all, from) {
  if (!all.linked || all.busy || !from.gl) return;
  const view = from.gl.getView(), now = view.slice(3).join();
  if (now === all.camera) return;
  all.camera = now;
  apart(all, (other) => {
    if (other === from) return;
    quietly(other.gl, () => other.gl.setView([...other.gl.getView().slice(0, 3), ...view.slice(3)]));
    other.pace.ask((done) => { quality(other, !other.pace.slow); other.gl.render(); whenDrawn(other.gl, done); }, PLAYING);
  });
}

const sizeOf = (scene) => Math.max(...[[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]].map((f) => Math.hypot(...at(scene.lattice, f))));

// all on the scale of the largest; only when a cell has changed much, unless always
function rescale(all, always) {
  const sizes = all.views.map((view) => sizeOf(view.current));
  if (!all.views.every((view) => view.block)) return; // the first drawing of all is under way
  if (!always && sizes.every((size, i) => Math.abs(size / (all.sizes[i] || 1e-9) - 1) < GROWN)) return;
  all.sizes = sizes;
  apart(all, (view) => refit(view));
  if (!all.linked) { if (always) apart(all, (view) => view.gl.render()); return; }
  const far = Math.min(...all.views.map((view) => view.gl.getView()[3]));
  apart(all, (view) => {
    quietly(view.gl, () => { const own = view.gl.getView(); own[3] = far; view.gl.setView(own); });
    view.gl.render();
  });
}

function drawAll(all, camera) {
  apart(all, (view) => draw(view, camera));
  rescale(all, Boolean(camera));
}

const frameOf = (view, share) => view.frames[Math.round(share * (view.frames.length - 1))];

// the clock stands at a share of the path: what it shows beside the crystals
function go(all, share) {
  all.at = Math.max(0, Math.min(1, share));
  all.root.dataset.at = all.at.toFixed(3);
  if (!all.slider) return;
  all.slider.value = String(Math.round(1000 * all.at));
  all.slider.setAttribute("aria-valuetext", `${Math.round(100 * all.at)} % of the path`);
  all.share.textContent = `${Math.round(100 * all.at)} %`;
  all.marks.forEach((mark) => mark(all.at));
}

const moving = (all) => all.views.filter((view) => view.frames && view.frames.length > 1);

function glance(all) {
  for (const view of moving(all)) drawNext(view, frameOf(view, all.at), PLAYING);
}

function settleAll(all) {
  for (const view of moving(all)) { view.pace.stop(); view.current = frameOf(view, all.at); }
  drawAll(all);
  say(all);
}

function step(all, by) {
  const longest = Math.max(0, ...moving(all).map((view) => view.frames.length - 1));
  if (longest) { go(all, all.at + by / longest); settleAll(all); }
}

function play(all) {
  if (!all.slider) return;
  all.playing = !all.playing;
  all.start.textContent = all.playing ? "❚❚ Pause" : "▶ Play";
  cancelAnimationFrame(all.timer);
  if (!all.playing) { settleAll(all); return; }
  if (all.at >= 1) go(all, 0);
  const longest = Math.max(...moving(all).map((view) => view.frames.length)), length = longest * FRAME_MS;
  let last = performance.now();
  const tick = (now) => {
    if (!all.playing) return;
    if (moving(all).every((view) => view.pace.free(PLAYING))) { // by the clock: what cannot be drawn in time is left out
      go(all, all.at + Math.min(((now - last) / length) * all.speed, 1 / PICTURES));
      last = now;
      glance(all);
      if (all.at >= 1) { play(all); return; }
    }
    all.timer = requestAnimationFrame(tick);
  };
  all.timer = requestAnimationFrame(tick);
}

function clockOf(all, data) {
  all.clock.replaceChildren();
  all.traces.replaceChildren();
  all.slider = null;
  all.marks = [];
  if (!moving(all).length) return;
  all.start = button(all.clock, "▶ Play", "Play or pause (Space)", () => play(all));
  button(all.clock, "‹", "One frame back", () => step(all, -1));
  button(all.clock, "›", "One frame on", () => step(all, 1));
  all.slider = element("input", "", all.clock);
  Object.assign(all.slider, { type: "range", min: 0, max: 1000, value: 1000 });
  all.slider.setAttribute("aria-label", "Share of the path");
  all.slider.oninput = () => { go(all, Number(all.slider.value) / 1000); glance(all); };
  all.slider.onchange = () => { go(all, Number(all.slider.value) / 1000); settleAll(all); };
  all.share = element("span", "share", all.clock, "100 %");
  all.speed = 1;
  choice(all.clock, "Speed", SPEEDS.map((x) => [String(x), `${x}×`]), "1", (value) => { all.speed = Number(value); });
  const colours = data.panes.map((pane) => pane.colour), names = data.panes.map((pane) => pane.letter);
  all.marks = data.traces.map((trace) => traceOf(all.traces, trace, colours, names));
}

// what the reader sees, for the link: after a choice is made, not while it is being made
function say(all) {
  if (all.playing || !all.views.length) return;
  const numbers = (view) => view.gl.getView().map((x) => Number(x.toFixed(4)));
  const look = {
    linked: all.linked, at: Number(all.at.toFixed(3)), style: all.views[0].style, polyhedra: all.views[0].polyhedra,
    cameras: Object.fromEntries(all.views.map((view) => [view.letter, numbers(view)])),
    hidden: Object.fromEntries(Object.entries(all.hidden).map(([letter, elements]) => [letter, [...elements]]).filter(([, elements]) => elements.length)),
  };
  const text = JSON.stringify(look);
  if (text === all.said) return;
  all.said = text;
  all.tell("look", look);
}

function showAll(all, data) {
  const same = JSON.stringify([data.panes, data.traces.length]), paper = css(all.views[0], "--st-background-color", "#ffffff");
  if (same === all.same && paper === all.paper) return;
  const first = all.same === undefined, fresh = same !== all.same;
  Object.assign(all, { same, paper });
  all.views.forEach((view, i) => {
    const pane = data.panes[i];
    view.letter = pane.letter;
    view.mark.style.background = pane.colour;
    view.name.textContent = `${pane.letter} · ${pane.name}`;
    view.name.title = pane.name;
    view.caption.textContent = pane.caption;
    if (fresh) {
      view.frames = pane.frames;
      view.current = pane.frames && pane.frames.length > 1 ? frameOf(view, all.at) : pane.scene;
      view.hidden = all.hidden[pane.letter] ??= new Set();
      view.picked = [];
    }
    legend(view);
    view.canvas.setAttribute("aria-label", `${pane.letter}, ${pane.name}: ${pane.scene.sentence}`);
  });
  if (fresh) clockOf(all, data);
  go(all, all.at);
  const cameras = data.look.cameras || {};
  const begin = first || (fresh && !all.moved && !Object.keys(cameras).length); // other cells, and the reader has not turned the last ones
  apart(all, (view) => draw(view, begin ? home : null));
  if (begin) likeFirst(all);
  rescale(all, fresh);
  if (first) {
    apart(all, (view) => {
      const camera = cameras[view.letter] || cameras[""];
      if (!camera) return;
      quietly(view.gl, () => view.gl.setView([...view.gl.getView().slice(0, 8 - camera.length), ...camera]));
      view.gl.render();
    });
  }
  all.said = undefined;
  all.root.dataset.panes = String(all.views.length);
}

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const root = parentElement.querySelector(".xc");
  if (!root) return;
  library().then(($3Dmol) => {
    if (!root.isConnected) return; // left before the script had come
    if (root.__all && root.__all.views.length !== data.panes.length) {
      root.__all.close();
      root.replaceChildren();
    }
    if (!root.__all) root.__all = openAll($3Dmol, root, data, setStateValue);
    root.__all.tell = setStateValue;
    showAll(root.__all, data);
  }).catch((error) => { root.dataset.error = error.message; root.textContent = error.message; });
  return () => { if (root.__all && !root.isConnected) root.__all.close(); };
}
