// Still images: for the cards of a gallery and for saving.
// an image of a scene, drawn in a viewer aside; the same camera if one is given; extra: what else to draw
function picture(gl, scene, block, options, size, camera, background, extra) {
  quietly(gl, () => {
    gl.removeAllShapes();
    gl.removeAllLabels();
    gl.setBackgroundColor(background.color, background.alpha);
    drawScene(gl, scene, block, options);
    if (extra) extra(gl);
    if (options.projection) gl.setProjection(options.projection);
    if (camera) gl.setView(camera); else homeView(gl, size, scene, block, options);
  });
  gl.render();
  return gl.pngURI();
}

// a viewer out of sight for pictures of one size
function aside($3Dmol, size, use) {
  const node = element("div", "", document.body);
  node.style.cssText = `position:absolute;left:-20000px;top:0;width:${size.width}px;height:${size.height}px`;
  node.setAttribute("aria-hidden", "true");
  const { gl, close } = openViewer($3Dmol, node, { antialias: size.smooth }); // smoothing doubles the size
  const end = () => { close(); node.remove(); };
  return Promise.resolve(gl).then(use).finally(end);
}
