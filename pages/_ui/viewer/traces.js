// Numbers along the paths of several crystals, under their common clock: one line each, and where the clock stands.
const SVG = "http://www.w3.org/2000/svg";
const BOX = { width: 300, height: 84, left: 2, bottom: 4, top: 6 };

function drawn(tag, parent, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  parent.appendChild(node);
  return node;
}

const short = (x) => (Math.abs(x) >= 100 ? x.toFixed(0) : Math.abs(x) >= 10 ? x.toFixed(1) : x.toFixed(2));

// trace: {title, unit, lines: [values or null]}; returns what moves its mark to a share of the path
function traceOf(parent, trace, colours, names) {
  const box = element("div", "trace", parent), title = element("div", "title", box);
  element("span", "", title, `${trace.title} (${trace.unit})`);
  const values = element("span", "values", title);
  const svg = drawn("svg", box, { viewBox: `0 0 ${BOX.width} ${BOX.height}`, preserveAspectRatio: "none", role: "img" });
  const known = trace.lines.filter(Boolean), all = known.flat();
  svg.setAttribute("aria-label", `${trace.title} along the path: ` + trace.lines.map((line, i) => line && `${names[i]} ends at ${short(line.at(-1))} ${trace.unit}`).filter(Boolean).join(", "));
  const top = Math.max(...all), low = Math.min(0, ...all), span = top - low || 1;
  const x = (share) => BOX.left + share * (BOX.width - BOX.left - 2);
  const y = (value) => BOX.top + (1 - (value - low) / span) * (BOX.height - BOX.top - BOX.bottom);
  const faint = { stroke: "currentColor", "stroke-opacity": 0.25, "vector-effect": "non-scaling-stroke" };
  drawn("line", svg, { x1: x(0), x2: x(1), y1: y(low), y2: y(low), ...faint });
  drawn("line", svg, { x1: x(0), x2: x(1), y1: y(top), y2: y(top), ...faint, "stroke-dasharray": "2 3" });
  trace.lines.forEach((line, i) => line && drawn("polyline", svg, {
    points: line.map((value, k) => `${x(k / Math.max(1, line.length - 1)).toFixed(2)},${y(value).toFixed(2)}`).join(" "),
    fill: "none", stroke: colours[i], "stroke-width": 2, "vector-effect": "non-scaling-stroke",
  }));
  const mark = drawn("line", svg, { y1: 0, y2: BOX.height, stroke: "currentColor", "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" });
  return (share) => {
    mark.setAttribute("x1", x(share));
    mark.setAttribute("x2", x(share));
    values.replaceChildren();
    trace.lines.forEach((line, i) => {
      if (!line) return;
      const node = element("span", "value", values); // the ink of the page, because a line's colour is too pale for letters
      element("span", "mark", node).style.background = colours[i];
      element("span", "", node, short(line[Math.round(share * (line.length - 1))]));
    });
  };
}
