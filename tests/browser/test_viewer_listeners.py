"""A viewer that is left takes its listeners and observers with it."""

import pytest

pytestmark = pytest.mark.browser

COUNT = """
window.__heard = [];  // what the 3D library and the viewer listen to on the page itself
const add = EventTarget.prototype.addEventListener, remove = EventTarget.prototype.removeEventListener;
const drop = (act) => { window.__heard = window.__heard.filter((heard) => heard.act !== act); };
EventTarget.prototype.addEventListener = function (type, act, options) {
  const library = [window, document.body].includes(this) && new Error().stack.includes('3Dmol');
  if (library || (this === document && options && options.signal)) {
    window.__heard.push({ type, act });
    if (options && options.signal) add.call(options.signal, 'abort', () => drop(act));
  }
  return add.call(this, type, act, options);
};
EventTarget.prototype.removeEventListener = function (type, act, options) {
  drop(act);
  return remove.call(this, type, act, options);
};
window.__watching = 0;
for (const name of ['ResizeObserver', 'IntersectionObserver']) {
  const Base = window[name];
  window[name] = class extends Base {
    observe(...what) {
      if (what[0].closest('.canvas')) { window.__watching++; this.__ours = true; }
      return super.observe(...what);
    }
    disconnect() { if (this.__ours) window.__watching--; return super.disconnect(); }
  };
}
"""


def test_a_viewer_that_is_left_leaves_nothing_behind(open_page):
    page = open_page("/models")
    page.context.add_init_script(COUNT)
    page.reload()
    page.locator("h1", has_text="Models").wait_for()
    page.get_by_role("link", name="Viewer").first.click()
    page.locator(".xv[data-ms]").wait_for()
    heard = sorted(page.evaluate("window.__heard.map(heard => heard.type)"))
    assert heard == ["mouseup", "pointerdown", "pointerup", "resize", "touchend", "visibilitychange"]
    assert page.evaluate("window.__watching") == 2
    page.get_by_role("link", name="Models").first.click()
    page.locator("h1", has_text="Models").wait_for()
    page.wait_for_function("window.__watching === 0 && window.__heard.length === 0")
