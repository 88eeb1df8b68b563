// Distances, angles and torsions between clicked atoms.
const minus = (a, b) => a.map((x, k) => x - b[k]);
const dot = (a, b) => a.reduce((sum, x, k) => sum + x * b[k], 0);
const degrees = (x) => (x * 180) / Math.PI;

function measured(atoms) {
  const [p, q, r, s] = atoms.map((atom) => atom.p);
  const names = atoms.map((atom) => atom.e + (atom.site + 1)).join("–");
  if (atoms.length === 2) return `${names}: ${Math.hypot(...minus(p, q)).toFixed(3)} Å`;
  if (atoms.length === 3) {
    const u = minus(p, q), w = minus(r, q);
    return `${names}: ${degrees(Math.acos(Math.max(-1, Math.min(1, dot(u, w) / (Math.hypot(...u) * Math.hypot(...w)))))).toFixed(2)}°`;
  }
  if (atoms.length === 4) {
    const b = minus(r, q), n = cross(minus(q, p), b), m = cross(b, minus(s, r)); // both along the path: cis is 0°
    return `${names}: ${degrees(Math.atan2(dot(cross(n, m), b) / Math.hypot(...b), dot(n, m))).toFixed(2)}° torsion`;
  }
  return atoms.length ? `${names}: click a second atom` : "Click two atoms for a distance, three for an angle, four for a torsion; Esc clears.";
}

function drawMeasure(gl, atoms, scale) {
  atoms.forEach((atom, k) => {
    gl.addSphere({ center: point(atom.p), radius: atom.r + 0.14, color: "#ffb000", opacity: 0.5 });
    if (k) gl.addCylinder({ start: point(atoms[k - 1].p), end: point(atom.p), radius: 0.045, color: "#ffb000", dashed: true });
  });
  if (atoms.length > 1) {
    const middle = [0, 1, 2].map((k) => atoms.reduce((sum, atom) => sum + atom.p[k], 0) / atoms.length);
    gl.addLabel(measured(atoms).split(": ")[1], { position: point(middle), fontSize: 14 * scale, fontColor: "#111827", backgroundColor: "#ffd166", backgroundOpacity: 0.9 });
  }
}
