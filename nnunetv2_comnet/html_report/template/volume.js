"use strict";
// A case's volumes: text in the page until the case is opened, then arrays of bytes, [z][y][x] in one row.

// The page may still be loading: an element is whole once something follows it, or all has come.
async function wholeElement(id) {
  for (;;) {
    const node = document.getElementById(id);
    if (node && (node.nextElementSibling || document.readyState !== "loading")) return node;
    if (document.readyState !== "loading") throw new Error("the page holds no data of this case");
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

async function openCase(number) {
  const content = JSON.parse((await wholeElement(`case-${number}`)).textContent);
  const decoded = new Map();
  content.layer = (kind, name) => {
    const layer = content.layers.find((one) => one.kind === kind && (name === undefined || one.name === name));
    if (!layer) return Promise.resolve(null);
    if (!decoded.has(layer)) decoded.set(layer, decodeLayer(layer, content.shape));
    return decoded.get(layer);
  };
  content.names = (kind) => content.layers.filter((layer) => layer.kind === kind).map((layer) => layer.name);
  return content;
}

function bytesOf(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function decodeLayer(layer, shape) {
  const bytes = bytesOf(layer.data);
  if (layer.coding === "deflate") {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }
  const picture = await createImageBitmap(new Blob([bytes], { type: layer.mime }), { colorSpaceConversion: "none" });
  const canvas = make("canvas", { width: picture.width, height: picture.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  picture.close();
  return fromTiles(context, canvas, layer.columns, shape);
}

// Slice z is tile z of the picture, counted along rows of `columns` tiles.
function fromTiles(context, canvas, columns, [depth, height, width]) {
  const volume = new Uint8Array(depth * height * width);
  for (let band = 0; band * columns < depth; band += 1) {
    const pixels = context.getImageData(0, band * height, canvas.width, height).data;
    for (let tile = 0; tile < columns && band * columns + tile < depth; tile += 1) {
      let target = (band * columns + tile) * height * width;
      for (let y = 0; y < height; y += 1) {
        let source = 4 * (y * canvas.width + tile * width);
        for (let x = 0; x < width; x += 1, source += 4) volume[target++] = pixels[source];
      }
    }
  }
  return volume;
}

// Some browsers answer with noise when a page reads pixels back, to hide whose machine it is.
function pixelsCanBeRead() {
  const context = make("canvas", { width: 2, height: 2 }).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#406080";
  context.fillRect(0, 0, 2, 2);
  const seen = context.getImageData(0, 0, 2, 2).data;
  return Math.abs(seen[0] - 0x40) + Math.abs(seen[5] - 0x60) + Math.abs(seen[10] - 0x80) < 12;
}
