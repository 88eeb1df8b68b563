// What lies over the picture, on the page and in saved images: the directions of the axes and the colour bar.
const NARROW = 240; // pixels: no room for the axes beside the legend
const TRIAD = { out: 50, arm: 24 }, BAR = { out: 14, width: 150, height: 9 }; // pixels

// context: of a canvas in pixels of the page; turn: rows of the rotation, model directions that go right, up and towards the reader
function paintMarks(context, box, scene, turn, options) {
  context.font = "600 13px sans-serif";
  context.textBaseline = "middle";
  if (options.axes && box.width >= NARROW) paintTriad(context, box, scene, turn, options);
  if (scene.colouring) paintBar(context, box, scene.colouring, options);
}

function paintTriad(context, box, scene, turn, options) {
  const centre = [box.width - TRIAD.out, box.height - TRIAD.out];
  const arms = scene.lattice.map((v, k) => ({ k, p: turn.map((row) => dot(row, unit(v))) })).sort((p, q) => p.p[2] - q.p[2]);
  context.textAlign = "center";
  for (const { k, p } of arms) { // the nearest last
    const [x, y] = [p[0], -p[1]], long = Math.hypot(x, y), place = (r) => [centre[0] + r * x, centre[1] + r * y];
    const end = place(TRIAD.arm);
    Object.assign(context, { strokeStyle: AXIS_COLOURS[k], fillStyle: AXIS_COLOURS[k], lineWidth: 2.2, lineCap: "round" });
    context.beginPath();
    context.moveTo(...centre);
    context.lineTo(...end);
    context.stroke();
    context.beginPath();
    if (long < 0.2) context.arc(...centre, 4, 0, 2 * Math.PI); // straight at the reader, or away
    else {
      const [dx, dy] = [x / long, y / long], tip = [end[0] + 5 * dx, end[1] + 5 * dy];
      context.moveTo(...tip);
      context.lineTo(end[0] - 3 * dx - 4 * dy, end[1] - 3 * dy + 4 * dx);
      context.lineTo(end[0] - 3 * dx + 4 * dy, end[1] - 3 * dy - 4 * dx);
    }
    context.fill();
    const beside = long < 0.2 ? [centre[0] - 11, centre[1] + 10] : [centre[0] + (TRIAD.arm * long + 11) * (x / long), centre[1] + (TRIAD.arm * long + 11) * (y / long)];
    Object.assign(context, { strokeStyle: options.paper, lineWidth: 3 });
    context.strokeText("abc"[k], ...beside);
    context.fillText("abc"[k], ...beside);
  }
}

// at most three significant digits, and no sign of a zero
const number = (x) => String(Number(x.toPrecision(3)) || 0).replace("-", "−");

function paintBar(context, box, colouring, options) {
  const left = box.width - BAR.out - BAR.width, right = box.width - BAR.out, top = 32;
  context.fillStyle = options.ink;
  context.font = "12px sans-serif";
  context.textAlign = "right";
  context.fillText(colouring.label + (colouring.unit ? ` (${colouring.unit})` : ""), right, 18, box.width - 2 * BAR.out);
  const one = colouring.high - colouring.low < 1e-9, last = colouring.stops.length - 1; // all alike: the colour of the middle
  const gradient = context.createLinearGradient(left, 0, right, 0);
  colouring.stops.forEach((stop, k) => gradient.addColorStop(k / last, one ? colouring.stops[last / 2] : stop));
  context.fillStyle = gradient;
  context.fillRect(left, top - BAR.height / 2, BAR.width, BAR.height);
  context.fillStyle = options.ink;
  context.fillText(number(colouring.high), right, top + 14);
  context.textAlign = "left";
  if (!one) context.fillText(number(colouring.low), left, top + 14);
  context.textAlign = "right";
  if (colouring.missing) context.fillText("grey: no value", right, top + 30);
}

// over the picture of a viewer, as often as its camera moves
function paint(view) {
  if (!view.current) return;
  const box = view.stage.getBoundingClientRect(), scale = window.devicePixelRatio || 1;
  view.stage.classList.toggle("narrow", box.width < NARROW);
  Object.assign(view.marks, { width: Math.round(box.width * scale), height: Math.round(box.height * scale) });
  const context = view.marks.getContext("2d");
  context.scale(scale, scale);
  paintMarks(context, box, view.current, rows(view.gl.getView().slice(4)), options(view));
}

// a saved image with the marks on it
async function withMarks(view, uri, scale) {
  const drawn = new Image();
  drawn.src = uri;
  await drawn.decode();
  const canvas = document.createElement("canvas"), box = view.stage.getBoundingClientRect();
  Object.assign(canvas, { width: drawn.naturalWidth, height: drawn.naturalHeight });
  const context = canvas.getContext("2d");
  context.drawImage(drawn, 0, 0);
  context.scale(scale, scale);
  paintMarks(context, box, view.current, rows(view.gl.getView().slice(4)), options(view));
  return canvas.toDataURL("image/png");
}
