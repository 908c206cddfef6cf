(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const E = phasescopeEngine();
  const C = E.canvas(data.net, data.height, data.width);
  const context = document.getElementById("picture").getContext("2d");
  const image = context.createImageData(data.width, data.height);
  E.toBytes(C.picture, image.data, C.pixels);
  context.putImageData(image, 0, 0);
})();
