const SCRIPT = "app/static/3Dmol-2.5.5-min.js";

function library() {
  if (window.$3Dmol) return Promise.resolve(window.$3Dmol);
  if (!window.__crystal3Dmol) {
    window.__crystal3Dmol = new Promise((resolve, reject) => {
      const tag = document.createElement("script");
      const root = location.pathname.replace(/[^/]*$/, "");
      tag.src = root + SCRIPT;
      tag.onload = () => resolve(window.$3Dmol);
      tag.onerror = () => reject(new Error("The local 3D script could not be loaded."));
      document.head.appendChild(tag);
    });
  }
  return window.__crystal3Dmol;
}

function element(tag, className, parent, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  parent.appendChild(node);
  return node;
}

function build(root) {
  const view = { style: "ball", polyhedra: true, labels: false, spin: false, hidden: new Set(), frame: -1 };
  view.root = root;
  view.stage = element("div", "stage", root);
  view.stage.setAttribute("role", "img");
  view.stage.tabIndex = 0;
  view.canvas = element("div", "", view.stage);
  view.canvas.style.cssText = "position:absolute;inset:0";
  view.legend = element("div", "legend", view.stage);
  view.player = element("div", "bar", root);
  view.bar = element("div", "bar", root);
  const toggle = (text, name, pick) => {
    const button = element("button", "", view.bar, text);
    button.type = "button";
    const mark = () => button.setAttribute("aria-pressed", String(pick ? view.style === name : view[name]));
    button.onclick = () => {
      if (pick) view.style = view.style === name ? "ball" : name; else view[name] = !view[name];
      [...view.bar.children].forEach((b) => b.mark && b.mark());
      if (name === "spin") view.gl.spin(view.spin ? "y" : false, 0.6); else draw(view);
    };
    button.mark = mark;
    mark();
    return button;
  };
  view.buttons = {
    polyhedra: toggle("Polyhedra", "polyhedra"), labels: toggle("Labels", "labels"), stick: toggle("Sticks", "stick", true),
    sphere: toggle("Space-filling", "sphere", true),
  };
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) toggle("Spin", "spin");
  ["a", "b", "c"].forEach((axis, k) => {
    element("button", "", view.bar, axis).onclick = () => along(view, k);
  });
  element("button", "", view.bar, "Reset").onclick = () => { home(view); };
  element("button", "", view.bar, "PNG").onclick = () => {
    const link = document.createElement("a");
    link.href = view.gl.pngURI();
    link.download = "crystal.png";
    link.click();
  };
  view.stage.addEventListener("keydown", (event) => {
    const act = { a: () => along(view, 0), b: () => along(view, 1), x: () => along(view, 2), 0: () => home(view),
      p: () => view.buttons.polyhedra.click(), l: () => view.buttons.labels.click(), s: () => view.buttons.stick.click(),
      " ": () => view.play && view.play() }[event.key.toLowerCase()];
    if (act) { act(); event.stopPropagation(); event.preventDefault(); }
  });
  return view;
}

function home(view) {
  view.gl.setView([0, 0, 0, 0, 0, 0, 0, 1]);
  view.gl.zoomTo();
  view.gl.rotate(-75, "x");
  view.gl.rotate(-20, "y");
  fit(view);
}

function fit(view) {
  const box = view.stage.getBoundingClientRect();
  view.gl.zoom(0.82 * Math.min(1, box.width / Math.max(1, box.height)));
  view.gl.render();
}

// look down a lattice vector: the quaternion that turns it towards the viewer
function along(view, k) {
  const v = view.current.axes[k], n = Math.hypot(...v), u = v.map((x) => x / n);
  const q = [-u[1], u[0], 0, 1 + u[2]];
  const m = Math.hypot(...q) || 1;
  const now = view.gl.getView();
  const turned = m < 1e-6 ? [1, 0, 0, 0] : [-q[0] / m, -q[1] / m, 0, q[3] / m];
  view.gl.setView([...now.slice(0, 4), -turned[0], -turned[1], -turned[2], turned[3]]);
  view.gl.render();
}

function draw(view) {
  const gl = view.gl, scene = view.current, radius = view.style === "sphere" ? 2.6 : view.style === "stick" ? 0.35 : 1;
  gl.removeAllShapes();
  gl.removeAllLabels();
  const ink = getComputedStyle(view.root).getPropertyValue("--st-text-color") || "#333";
  const paper = getComputedStyle(view.root).getPropertyValue("--st-background-color") || "#fff";
  gl.setBackgroundColor(paper.trim(), 1);
  const shown = (atom) => !view.hidden.has(atom.e);
  for (const [p, q] of scene.cell) {
    gl.addCylinder({ start: { x: p[0], y: p[1], z: p[2] }, end: { x: q[0], y: q[1], z: q[2] }, radius: 0.025, color: ink.trim(), fromCap: 1, toCap: 1 });
  }
  for (const atom of scene.atoms) {
    if (shown(atom)) gl.addSphere({ center: atom, radius: view.style === "stick" ? 0.18 : atom.r * radius, color: atom.c });
    if (view.labels && shown(atom)) gl.addLabel(atom.e + (atom.site + 1), { position: atom, fontSize: 12, backgroundOpacity: 0.5 });
  }
  if (view.style !== "sphere") {
    for (const [i, j] of scene.bonds) {
      const a = scene.atoms[i], b = scene.atoms[j];
      if (!a || !b || !shown(a) || !shown(b)) continue;
      const m = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, z: (a.z + b.z) / 2 };
      gl.addCylinder({ start: a, end: m, radius: 0.1, color: a.c, fromCap: 1, toCap: 0 });
      gl.addCylinder({ start: m, end: b, radius: 0.1, color: b.c, fromCap: 0, toCap: 1 });
    }
  }
  if (view.polyhedra) {
    for (const body of scene.polyhedra) {
      if (view.hidden.has(body.e)) continue;
      const points = [], normals = [], faces = [];
      const mid = [0, 1, 2].map((k) => body.points.reduce((sum, p) => sum + p[k], 0) / body.points.length);
      for (const face of body.faces) {
        let [p, q, r] = face.map((i) => body.points[i]);
        const u = q.map((x, k) => x - p[k]), w = r.map((x, k) => x - p[k]);
        let n = [u[1] * w[2] - u[2] * w[1], u[2] * w[0] - u[0] * w[2], u[0] * w[1] - u[1] * w[0]];
        if (n.reduce((sum, x, k) => sum + x * (p[k] - mid[k]), 0) < 0) { [q, r] = [r, q]; n = n.map((x) => -x); }
        const size = Math.hypot(...n) || 1;
        for (const point of [p, q, r]) {
          faces.push(points.length);
          points.push({ x: point[0], y: point[1], z: point[2] });
          normals.push({ x: n[0] / size, y: n[1] / size, z: n[2] / size });
        }
      }
      gl.addCustom({ vertexArr: points, normalArr: normals, faceArr: faces, color: body.c, opacity: 0.45 });
    }
  }
  const names = ["a", "b", "c"];
  scene.axes.forEach((v, k) => gl.addLabel(names[k], { position: { x: v[0] * 1.06, y: v[1] * 1.06, z: v[2] * 1.06 }, fontSize: 14, fontColor: ink.trim(), backgroundOpacity: 0 }));
  gl.render();
  view.root.dataset.rendered = String(scene.atoms.length);
  view.root.dataset.frame = String(view.frame);
}

function legend(view) {
  view.legend.replaceChildren();
  for (const entry of view.current.legend) {
    const button = element("button", view.hidden.has(entry.e) ? "off" : "", view.legend);
    button.title = "Show or hide " + entry.e;
    element("span", "dot", button).style.background = entry.c;
    element("span", "", button, entry.e);
    button.onclick = () => {
      if (view.hidden.has(entry.e)) view.hidden.delete(entry.e); else view.hidden.add(entry.e);
      button.classList.toggle("off");
      draw(view);
    };
  }
}

function player(view, frames) {
  view.player.replaceChildren();
  cancelAnimationFrame(view.timer);
  view.play = null;
  if (!frames || frames.length < 2) { view.frame = -1; return; }
  view.frame = frames.length - 1;
  const button = element("button", "", view.player, "▶ Play");
  const slider = element("input", "", view.player);
  Object.assign(slider, { type: "range", min: 0, max: frames.length - 1, value: view.frame });
  slider.setAttribute("aria-label", "Moment of the path");
  const text = element("span", "", view.player, `${frames.length}/${frames.length}`);
  const show = (k) => {
    view.frame = k;
    slider.value = k;
    text.textContent = `${k + 1}/${frames.length}`;
    view.current = frames[k];
    draw(view);
  };
  slider.oninput = () => show(Number(slider.value));
  let playing = false, last = 0;
  const tick = (now) => {
    if (!playing) return;
    if (now - last > 80) { last = now; if (view.frame >= frames.length - 1) { view.play(); return; } show(view.frame + 1); }
    view.timer = requestAnimationFrame(tick);
  };
  view.play = () => {
    playing = !playing;
    button.textContent = playing ? "❚❚ Pause" : "▶ Play";
    if (playing) { if (view.frame >= frames.length - 1) show(0); view.timer = requestAnimationFrame(tick); }
  };
  button.onclick = view.play;
}

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".xv");
  if (!root) return;
  library().then(($3Dmol) => {
    let view = root.__view;
    if (!view) {
      view = root.__view = build(root);
      view.stage.style.height = data.height + "px";
      view.gl = $3Dmol.createViewer(view.canvas, { minimumZoomToDistance: 0.1, antialias: true });
      root.getView = () => view.gl.getView();
      view.fresh = true;
      new ResizeObserver(() => view.gl.resize()).observe(view.stage);
    }
    const elements = data.scene.legend.map((entry) => entry.e).join();
    const changed = elements !== view.elements;
    view.elements = elements;
    view.current = data.scene;
    view.stage.setAttribute("aria-label", data.scene.sentence);
    player(view, data.frames);
    legend(view);
    draw(view);
    if (view.fresh || changed) { view.fresh = false; home(view); }
  }).catch((error) => { root.dataset.error = error.message; root.textContent = error.message; });
  return () => {
    const view = root.__view;
    if (view) { cancelAnimationFrame(view.timer); view.gl.spin(false); }
  };
}
