// The component: one crystal, or the path on which it formed.
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".xv");
  if (!root) return;
  library().then(($3Dmol) => {
    if (!root.isConnected) return; // left before the script had come
    if (!root.__view) root.__view = open($3Dmol, root, data);
    update(root.__view, data, setTriggerValue);
  }).catch((error) => { root.dataset.error = error.message; root.textContent = error.message; });
  // also called for data that newer data have overtaken, with the viewer still in the page
  return () => { if (root.__view && !root.isConnected) root.__view.close(); };
}
