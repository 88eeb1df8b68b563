// How often to draw. A fast machine draws every frame; a slow one (software drawing, on the processor that also computes
// the run) skips frames, so that drawing takes a small share of its time.
const SLOW = 80; // ms a drawing may take before frames are skipped
const ALONGSIDE = 0.1; // share of the time that drawing may take while a run is going on,
const PLAYING = 0.5; // and where the reader has set something in motion
const LONGEST_REST = 15000; // ms
const GIVE_UP = 10000; // ms after which a drawing counts as finished

// the clock, the timers and whether the page can be seen come in, so that a test can hold them
function makePace({ now, later, forget, hidden }) {
  let cost = 0, drawn = 0, ended = -Infinity, busy = false, timer = null, waiting = null, share = ALONGSIDE;
  const rest = (of) => (cost > SLOW ? Math.min(LONGEST_REST, cost / of - cost) : 0);
  const next = () => {
    if (!waiting || busy || timer !== null || hidden()) return;
    const left = ended + rest(share) - now();
    if (left > 0) { timer = later(() => { timer = null; next(); }, left); return; }
    const job = waiting, began = now();
    waiting = null;
    busy = true;
    job(() => {
      busy = false;
      ended = now();
      tell(ended - began);
      next();
    });
  };
  const tell = (ms) => { if (drawn++) cost = ms; }; // the first drawing also prepares: it tells nothing of the next
  return {
    tell, // how long a drawing took that was not asked for here
    ask(job, of = ALONGSIDE) { waiting = job; share = of; next(); }, // the newest frame takes the place of one that still waits
    next, // try again, e.g. when the page is seen again
    stop() { waiting = null; if (timer !== null) forget(timer); timer = null; },
    get cost() { return cost; },
    get slow() { return cost > SLOW; },
    free(of) { return !busy && now() - ended >= rest(of); },
  };
}

// calls back when the picture is really drawn: drawing is another process's work and goes on after the call has returned
function whenDrawn(gl, done) {
  const context = gl.getRenderer()._gl;
  if (!context || !context.fenceSync || context.isContextLost()) { done(); return; }
  const fence = context.fenceSync(context.SYNC_GPU_COMMANDS_COMPLETE, 0), began = performance.now();
  context.flush();
  const look = () => {
    const over = context.isContextLost() || performance.now() - began > GIVE_UP || context.getSyncParameter(fence, context.SYNC_STATUS) === context.SIGNALED;
    if (!over) { setTimeout(look, 4); return; }
    context.deleteSync(fence);
    done();
  };
  setTimeout(look, 0);
}
