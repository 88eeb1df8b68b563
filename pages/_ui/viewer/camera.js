// Where the reader stands: how the crystal is turned, and how near.
const EYE = 150; // 3Dmol's camera stands at z = 150 and opens 20° in height
const SHARE = 0.92; // of the picture that the crystal may fill

// quaternion (x, y, z, w) of the rotation with these rows: the model directions that go right, up and towards the viewer
function quaternion([r, u, t]) {
  const w = Math.sqrt(Math.max(0, 1 + r[0] + u[1] + t[2])) / 2;
  if (w > 1e-4) return [(t[1] - u[2]) / (4 * w), (r[2] - t[0]) / (4 * w), (u[0] - r[1]) / (4 * w), w];
  const x = Math.sqrt(Math.max(0, 1 + r[0] - u[1] - t[2])) / 2; // half turns have w = 0
  if (x > 1e-4) return [x, (r[1] + u[0]) / (4 * x), (r[2] + t[0]) / (4 * x), 0];
  const y = Math.sqrt(Math.max(0, 1 - r[0] + u[1] - t[2])) / 2;
  return y > 1e-4 ? [0, y, (u[2] + t[1]) / (4 * y), 0] : [0, 0, 1, 0];
}

const UPRIGHT = 0.8; // cosine between c and the vertical of the screen
const unit = (v) => { const n = Math.hypot(...v) || 1; return v.map((x) => x / n); };

function face(gl, towards, up) {
  const t = unit(towards);
  const r = unit([up[1] * t[2] - up[2] * t[1], up[2] * t[0] - up[0] * t[2], up[0] * t[1] - up[1] * t[0]]);
  const u = [t[1] * r[2] - t[2] * r[1], t[2] * r[0] - t[0] * r[2], t[0] * r[1] - t[1] * r[0]];
  gl.setView([...gl.getView().slice(0, 4), ...quaternion([r, u, t])]);
}

// as in a textbook: c up, b to the right, a towards the reader
function homeView(gl, box, scene, block, options) {
  const [a, b, c] = scene.lattice.map(unit);
  face(gl, a.map((x, k) => x + 0.32 * b[k] + 0.3 * c[k]), c);
  fit(gl, box, scene, block, options);
}

// [x, y, z, r] of every ball and arrow that is drawn, and of the cell's corners
function extent(scene, block, options) {
  const balls = block.atoms.filter((atom) => !options.hidden.has(atom.e)).map((atom) => [...atom.p, radius(atom, options.style)]);
  const [na, nb, nc] = options.repeat;
  for (const a of [0, na]) for (const b of [0, nb]) for (const c of [0, nc]) balls.push([...at(scene.lattice, [a, b, c]), 0.05]);
  if (scene.pale) CORNERS.forEach((f) => balls.push([...at(scene.pale.lattice, f), 0.05]));
  for (const arrow of arrowsOf(scene, block, options)) balls.push([...arrow.start, 0.1], [...arrow.end, 0.1]);
  return balls;
}

// rows of the rotation of a quaternion (x, y, z, w)
const rows = ([x, y, z, w]) => [
  [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
  [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
  [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
];

// everything in sight, turned as it is, balls with their radii; the library's own zoomTo knows height and centres only.
// box: width, height and below, pixels at the lower edge that something else covers
function fit(gl, box, scene, block, options) {
  const turn = rows(gl.getView().slice(4)), wide = box.width / Math.max(1, box.height);
  const seen = extent(scene, block, options).map(([x, y, z, r]) => [...turn.map((row) => row[0] * x + row[1] * y + row[2] * z), r]);
  const middle = [0, 1, 2].map((k) => (Math.min(...seen.map((s) => s[k] - s[3])) + Math.max(...seen.map((s) => s[k] + s[3]))) / 2);
  const parallel = options.projection === "orthographic"; // its half width is distance × tan 20°
  const half = parallel ? Math.tan(Math.PI / 9) / wide : Math.tan(Math.PI / 18), covered = (box.below || 0) / Math.max(1, box.height);
  const up = SHARE * half * (1 - covered), across = SHARE * half * wide;
  let distance = 1, reach = 0;
  for (const s of seen) {
    const [x, y, z] = s.slice(0, 3).map((p, k) => p - middle[k]);
    reach = Math.max(reach, Math.hypot(x, y, z) + s[3]);
    for (const [off, slope] of [[Math.abs(x), across], [Math.abs(y), up]]) {
      // perspective: the ball touches the plane through the eye that bounds the picture
      distance = Math.max(distance, parallel ? (off + s[3]) / slope : z + (off + s[3] * Math.hypot(1, slope)) / slope);
    }
  }
  middle[1] -= distance * half * covered; // the crystal stands in the middle of what is free
  const centre = [0, 1, 2].map((k) => middle.reduce((sum, m, row) => sum + m * turn[row][k], 0));
  gl.setSlab(-Math.max(50, 4 * reach), Math.max(50, 4 * reach));
  gl.setView([...centre.map((x) => -x), EYE - distance, ...gl.getView().slice(4)]);
}

// round c where it stands, or else round what points up on the screen; the library turns round directions of the crystal
function turn(gl, lattice, angle) {
  const c = unit(lattice[2]), up = rows(gl.getView().slice(4))[1];
  const [x, y, z] = c.reduce((sum, part, k) => sum + part * up[k], 0) > UPRIGHT ? c : up;
  gl.rotate(angle, { x, y, z });
}

// look down the k-th lattice vector, with c up (b up along c)
function alongAxis(gl, lattice, k) {
  face(gl, lattice[k], lattice[k === 2 ? 1 : 2]);
}
