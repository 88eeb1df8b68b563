// Shared by the viewer and the gallery: the local 3D library, a block of cells from a periodic scene, and its drawing.
const SCRIPT = "app/static/3Dmol-2.5.5-min.js";
const FACE = 1e-3, NEAR_FACE = 0.15, WIDEST_FACE = 0.1; // as in crystal_core.drawing.scene
const MAX_DRAWN = 6000;
const CORNERS = [0, 1, 2, 3, 4, 5, 6, 7].map((k) => [k & 1, (k >> 1) & 1, (k >> 2) & 1]);
const EDGES = CORNERS.flatMap((p, i) => CORNERS.slice(i + 1).map((q) => [p, q])).filter(([p, q]) => p.reduce((sum, x, k) => sum + Math.abs(x - q[k]), 0) === 1);
const AMBIENT = 0.35; // of the light
const ARROW = 0.95, HEAD = 0.55; // Å, how far the longest moment looks out of its ball at both ends, and the head of an arrow
const AXIS_COLOURS = ["#e5484d", "#2e9e5b", "#3b82f6"];

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

// some light from everywhere: the library has one lamp, which leaves the rims of balls black; its shaders are compiled when first used
function soften(context) {
  if (!context || context.shaderSource !== WebGL2RenderingContext.prototype.shaderSource) return; // of another kind, or done: viewers share it
  const soft = (text) => text.replace(/max\( (-?)dotProduct, 0\.0 \)/g, `${AMBIENT} + ${1 - AMBIENT} * max( $1dotProduct, 0.0 )`);
  context.shaderSource = (shader, text) => WebGL2RenderingContext.prototype.shaderSource.call(context, shader, soft(text));
}

// every change of a viewer draws it once more, also each label: many changes, one drawing by the caller
function quietly(gl, change) {
  gl.show = () => {};
  try { return change(); } finally { delete gl.show; }
}

// a viewer in a node, and what takes away all that it left in the page: the library itself removes no listener
function openViewer($3Dmol, node, settings) {
  const listening = [], targets = [window, document.body];
  for (const target of targets) {
    target.addEventListener = (...heard) => { listening.push([target, ...heard]); EventTarget.prototype.addEventListener.apply(target, heard); };
  }
  let gl;
  try {
    gl = $3Dmol.createViewer(node, { minimumZoomToDistance: 0.1, ...settings });
    soften(gl.getRenderer()._gl);
  } finally {
    targets.forEach((target) => { delete target.addEventListener; });
  }
  const close = () => {
    listening.forEach(([target, ...heard]) => target.removeEventListener(...heard));
    [gl.divwatcher, gl.intwatcher].forEach((observer) => observer && observer.disconnect());
    quietly(gl, () => gl.clear());
    const drawing = gl.getRenderer(), context = drawing._gl; // shared by all viewers of the page: give back this one's part
    ["_targetTexture", "_depthTexture", "_shadingTexture", "_scratchTexture"].forEach((name) => drawing[name] && context.deleteTexture(drawing[name]));
    if (drawing._fb) context.deleteFramebuffer(drawing._fb);
  };
  return { gl, close };
}

function element(tag, className, parent, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text; // never innerHTML: names come from files
  parent.appendChild(node);
  return node;
}

const at = (lattice, f) => [0, 1, 2].map((k) => f[0] * lattice[0][k] + f[1] * lattice[1][k] + f[2] * lattice[2][k]);
const point = (p) => ({ x: p[0], y: p[1], z: p[2] });

const cross = (u, w) => [u[1] * w[2] - u[2] * w[1], u[2] * w[0] - u[0] * w[2], u[0] * w[1] - u[1] * w[0]];

// fractional distance along a, b and c that counts as on a face
function nearFaces(lattice) {
  const normals = [0, 1, 2].map((k) => cross(lattice[(k + 1) % 3], lattice[(k + 2) % 3]));
  const volume = Math.abs(lattice[0].reduce((sum, x, k) => sum + x * normals[0][k], 0));
  return normals.map((n) => (volume < 1e-3 ? FACE : Math.min(WIDEST_FACE, Math.max(FACE, NEAR_FACE * Math.hypot(...n) / volume))));
}

// the twin of crystal_core.drawing.scene.expand
function expand(scene, repeat, images, complete) {
  const atoms = [], index = new Map();
  const add = (i, n) => {
    const key = [i, ...n].join();
    if (!index.has(key)) {
      const site = scene.sites[i];
      index.set(key, atoms.length);
      atoms.push({ p: at(scene.lattice, site.f.map((x, k) => x + n[k])), e: site.e, r: site.r, s: site.s, site: i, n });
    }
    return index.get(key);
  };
  const near = images ? nearFaces(scene.lattice) : [0, 0, 0];
  scene.sites.forEach((site, i) => {
    const start = site.f.map((x, k) => (1 - x < near[k] ? -1 : 0)), end = site.f.map((x, k) => (x < near[k] ? repeat[k] + 1 : repeat[k]));
    for (let a = start[0]; a < end[0]; a++) for (let b = start[1]; b < end[1]; b++) for (let c = start[2]; c < end[2]; c++) {
      if (atoms.length < MAX_DRAWN) add(i, [a, b, c]);
    }
  });
  const bodies = new Map(scene.polyhedra.map((body) => [body.i, body]));
  const centres = atoms.filter((atom) => bodies.has(atom.site));
  const corners = (atom) => bodies.get(atom.site).corners.map(([j, a, b, c]) => [j, [atom.n[0] + a, atom.n[1] + b, atom.n[2] + c]]);
  const whole = (atom) => corners(atom).every(([j, n]) => index.has([j, ...n].join()));
  const completed = new Set(centres.filter((atom) => complete || (complete === null && !whole(atom))).map((atom) => atom.e));
  centres.filter((atom) => completed.has(atom.e)).forEach((atom) => corners(atom).forEach(([j, n]) => { if (atoms.length < MAX_DRAWN) add(j, n); }));
  const bonded = new Map();
  scene.bonds.forEach((bond) => { if (!bonded.has(bond[0])) bonded.set(bond[0], []); bonded.get(bond[0]).push(bond); });
  const bonds = [], seen = new Set();
  atoms.forEach((atom, k) => (bonded.get(atom.site) || []).forEach(([, j, a, b, c]) => {
    const other = index.get([j, atom.n[0] + a, atom.n[1] + b, atom.n[2] + c].join());
    const name = other === undefined ? "" : k < other ? `${k},${other}` : `${other},${k}`;
    if (name && !seen.has(name)) { seen.add(name); bonds.push([k, other]); }
  }));
  const polyhedra = centres.filter(whole).map((atom) => ({
    e: atom.e, site: atom.site, points: corners(atom).map(([j, n]) => atoms[index.get([j, ...n].join())].p), faces: bodies.get(atom.site).faces,
  }));
  return { atoms, bonds, polyhedra };
}

function addBody(gl, body, color, opacity) {
  const points = [], normals = [], faces = [];
  const mid = [0, 1, 2].map((k) => body.points.reduce((sum, p) => sum + p[k], 0) / body.points.length);
  const edges = new Map();
  for (const face of body.faces) {
    let [p, q, r] = face.map((i) => body.points[i]);
    let n = cross(q.map((x, k) => x - p[k]), r.map((x, k) => x - p[k]));
    if (n.reduce((sum, x, k) => sum + x * (p[k] - mid[k]), 0) < 0) { [q, r] = [r, q]; n = n.map((x) => -x); }
    const size = Math.hypot(...n) || 1, unit = n.map((x) => x / size);
    for (const vertex of [p, q, r]) {
      faces.push(points.length);
      points.push(point(vertex));
      normals.push(point(unit));
    }
    for (let k = 0; k < 3; k++) {
      const name = [face[k], face[(k + 1) % 3]].sort((x, y) => x - y).join();
      edges.set(name, [...(edges.get(name) || []), unit]);
    }
  }
  gl.addCustom({ vertexArr: points, normalArr: normals, faceArr: faces, color, opacity });
  for (const [name, units] of edges) { // edges between two coplanar triangles are not edges of the body
    if (units.length === 2 && units[0].reduce((sum, x, k) => sum + x * units[1][k], 0) > 0.99) continue;
    const [i, j] = name.split(",").map(Number);
    gl.addCylinder({ start: point(body.points[i]), end: point(body.points[j]), radius: 0.014, color });
  }
}

const SLICE_STEPS = 24, VACANT = "#f4f4f5"; // of a full turn; a share that nothing fills

// a sphere in slices, one for each element of a shared site, the rest vacant
function addSlices(gl, atom, size, colours) {
  const rest = 1 - atom.s.reduce((sum, [, share]) => sum + share, 0);
  let from = 0;
  for (const [color, share] of [...atom.s.map(([e, x]) => [colours[e], x]), ...(rest > 0.001 ? [[VACANT, rest]] : [])]) {
    const steps = Math.max(1, Math.ceil(SLICE_STEPS * share)), points = [], normals = [], faces = [], rows = SLICE_STEPS / 2;
    for (let a = 0; a <= steps; a++) for (let b = 0; b <= rows; b++) {
      const turn = 2 * Math.PI * (from + (share * a) / steps), tilt = (Math.PI * b) / rows;
      const n = [Math.sin(tilt) * Math.cos(turn), Math.sin(tilt) * Math.sin(turn), Math.cos(tilt)];
      normals.push(point(n));
      points.push(point(n.map((x, k) => atom.p[k] + 1.01 * size * x)));
    }
    for (let a = 0; a < steps; a++) for (let b = 0; b < rows; b++) {
      const k = a * (rows + 1) + b;
      faces.push(k, k + 1, k + rows + 1, k + 1, k + rows + 2, k + rows + 1);
    }
    gl.addCustom({ vertexArr: points, normalArr: normals, faceArr: faces, color });
    from += share;
  }
}

const RADIUS = { ball: 1, stick: 0, space: 2.6, poly: 0.7 }; // of a sphere, over the atom's own; sticks have a fixed one
const radius = (atom, style) => (RADIUS[style] ? atom.r * RADIUS[style] : 0.17);

// another crystal over this one: each of its atoms beside its partner, with a line to it where the two are apart
function drawPale(gl, pale, block, options, colours) {
  for (const [i, j] of EDGES) gl.addCylinder({ start: point(at(pale.lattice, i)), end: point(at(pale.lattice, j)), radius: 0.02, color: "#8b8f98", dashed: true, dashLength: 0.25, gapLength: 0.2 });
  block.atoms.forEach((atom) => {
    const site = pale.sites[atom.site], place = at(pale.lattice, site.f.map((x, k) => x + atom.n[k]));
    if (options.hidden.has(atom.e)) return;
    gl.addSphere({ center: point(place), radius: 0.97 * radius({ r: site.r }, options.style), color: colours[site.e], opacity: 0.4 });
    if (Math.hypot(...place.map((x, k) => x - atom.p[k])) > 0.05) gl.addCylinder({ start: point(place), end: point(atom.p), radius: 0.04, color: options.ink, fromCap: 1, toCap: 1 });
  });
}

// of a CSS colour, #rgb, #rrggbb or rgb(…): whether dark letters on it could not be read
function isDark(colour) {
  const hex = /^#([0-9a-f]{6}|[0-9a-f]{3})/i.exec(colour);
  const rgb = hex ? hex[1].match(hex[1].length < 6 ? /./g : /../g).map((x) => parseInt(x.length < 2 ? x + x : x, 16)) : (colour.match(/[\d.]+/g) || [255, 255, 255]).map(Number);
  return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] < 110;
}

const coloursOf = (scene, palette, paper) => {
  const palettes = isDark(paper) ? scene.dark_palettes : scene.palettes;
  return palettes[palette] || palettes.VESTA;
};

// start and end of the arrow on every atom that is drawn with a moment
function arrowsOf(scene, block, options) {
  if (!scene.moments || !options.moments) return [];
  const { vectors, longest } = scene.moments;
  return block.atoms.filter((atom) => vectors[atom.site] && !options.hidden.has(atom.e)).map((atom) => {
    const m = vectors[atom.site], size = Math.hypot(...m), out = (ARROW * size) / longest; // what is seen outside of its ball
    const half = radius(atom, options.style) + out;
    const [start, end] = [-half, half].map((reach) => atom.p.map((x, k) => x + (reach / size) * m[k]));
    return { start, end, mid: 1 - Math.min(HEAD, out) / (2 * half) };
  });
}

// options: style, palette, polyhedra, solid (no glass), moments, labels, hidden (Set of elements), ink and paper (colours of the page), scale (of the lettering), onAtom (click)
function drawScene(gl, scene, block, options) {
  const colours = coloursOf(scene, options.palette, options.paper), tints = scene.colouring && scene.colouring.colours;
  const colourOf = (part) => (tints ? tints[part.site] : colours[part.e]);
  const isVisible = (atom) => !options.hidden.has(atom.e);
  const repeat = options.repeat, scale = options.scale || 1;
  for (let a = 0; a <= repeat[0]; a++) for (let b = 0; b <= repeat[1]; b++) for (let c = 0; c <= repeat[2]; c++) {
    const from = point(at(scene.lattice, [a, b, c]));
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]].forEach((d) => {
      if (a + d[0] > repeat[0] || b + d[1] > repeat[1] || c + d[2] > repeat[2]) return;
      gl.addCylinder({ start: from, end: point(at(scene.lattice, [a + d[0], b + d[1], c + d[2]])), radius: 0.014, color: options.ink, fromCap: 1, toCap: 1 });
    });
  }
  block.atoms.forEach((atom) => {
    if (!isVisible(atom)) return;
    const sphere = { center: point(atom.p), radius: radius(atom, options.style), color: colourOf(atom) };
    if (options.onAtom) Object.assign(sphere, { clickable: true, callback: () => options.onAtom(atom) });
    gl.addSphere(sphere);
    if (atom.s && !tints) addSlices(gl, atom, sphere.radius, colours);
    if ([].concat(options.selected ?? []).includes(atom.site)) gl.addSphere({ center: point(atom.p), radius: radius(atom, options.style) + 0.18, color: "#ffb000", opacity: 0.45 });
    if (options.labels) gl.addLabel(atom.e + (atom.site + 1), { position: point(atom.p), fontSize: 12 * scale, fontColor: "#ffffff", backgroundColor: "#1f2937", backgroundOpacity: 0.65 });
  });
  if (options.style !== "space") {
    for (const [i, j] of block.bonds) {
      const a = block.atoms[i], b = block.atoms[j];
      if (!isVisible(a) || !isVisible(b)) continue;
      const middle = point(a.p.map((x, k) => (x + b.p[k]) / 2)), thick = options.style === "poly" ? 0.05 : 0.1;
      gl.addCylinder({ start: point(a.p), end: middle, radius: thick, color: colourOf(a), fromCap: 1, toCap: 0 });
      gl.addCylinder({ start: middle, end: point(b.p), radius: thick, color: colourOf(b), fromCap: 0, toCap: 1 });
    }
  }
  if (options.polyhedra) block.polyhedra.forEach((body) => { if (!options.hidden.has(body.e)) addBody(gl, body, colourOf(body), options.solid ? 1 : 0.5); });
  for (const arrow of arrowsOf(scene, block, options)) gl.addArrow({ start: point(arrow.start), end: point(arrow.end), radius: 0.09, radiusRatio: 2.2, mid: arrow.mid, color: options.ink });
  if (scene.pale) drawPale(gl, scene.pale, block, options, colours);
}
