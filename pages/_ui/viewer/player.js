// The path on which a crystal formed, or the frames of a file, played.
const SPEEDS = [0.5, 1, 2, 4];
const FRAME_MS = 90; // of a path played at 1×
const PICTURES = 12; // of a path at least: a machine that draws too slowly for the clock plays it slower

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
  let playing = false, clock = 0, speed = 1;
  choice(view.player, "Speed", SPEEDS.map((x) => [String(x), `${x}×`]), "1", (value) => { speed = Number(value); });
  const go = (k) => {
    view.frame = Math.max(0, Math.min(frames.length - 1, k));
    slider.value = view.frame;
    text.textContent = `${view.frame + 1}/${frames.length}`;
  };
  const show = (k) => {
    go(k);
    view.pace.stop();
    view.current = frames[view.frame];
    draw(view, follow);
  };
  slider.oninput = () => { go(Number(slider.value)); drawNext(view, frames[view.frame], PLAYING); };
  slider.onchange = () => show(Number(slider.value));
  const tick = (now) => {
    if (!playing) return;
    // by the clock: what cannot be drawn in time is left out
    const frame = Math.min(Math.floor((now - clock) / FRAME_MS * speed), Math.ceil(frames.length / PICTURES));
    if (frame >= 1 && view.pace.free(PLAYING)) {
      clock = now;
      if (view.frame >= frames.length - 1) { view.play(); return; }
      go(view.frame + frame);
      drawNext(view, frames[view.frame], PLAYING);
    }
    view.timer = requestAnimationFrame(tick);
  };
  view.step = (by) => show(view.frame + by);
  view.play = () => {
    playing = !playing;
    start.textContent = playing ? "❚❚ Pause" : "▶ Play";
    if (!playing) { show(view.frame); return; }
    if (view.frame >= frames.length - 1) show(0);
    clock = performance.now();
    view.timer = requestAnimationFrame(tick);
  };
}
