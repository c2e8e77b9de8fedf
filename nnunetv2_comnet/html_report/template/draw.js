"use strict";
// One slice on a canvas: the scan in grey, masks in the labels' colours, maps in a ramp, as radiologists hang them.

// axis: the one that the slider moves along; row, column: those of the picture; marks: top, right, bottom, left.
const PLANES = {
  axial: { axis: 0, row: 1, column: 2, upsideDown: false, marks: ["A", "L", "P", "R"] },
  coronal: { axis: 1, row: 0, column: 2, upsideDown: true, marks: ["S", "L", "I", "R"] },
  sagittal: { axis: 2, row: 0, column: 1, upsideDown: true, marks: ["S", "P", "I", "A"] },
};
const DIFFERENCES = [
  { name: "missed", colour: "#3d8bff" },
  { name: "false", colour: "#ff4a2a" },
  { name: "other label", colour: "#b48cff" },
];
const OTHER_LABEL = "#b9bec7";
const RAMP = [[0, 84, 40, 190], [64, 150, 38, 170], [128, 222, 70, 98], [192, 250, 150, 40], [255, 253, 250, 170]];
const FAINTEST = 10; // of 255: below this a map is not drawn

function rgb(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

function rampColour(value) {
  const next = Math.max(1, RAMP.findIndex((stop) => stop[0] >= value));
  const [low, high] = [RAMP[next - 1], RAMP[next]];
  const part = (value - low[0]) / (high[0] - low[0]);
  return [1, 2, 3].map((at) => Math.round(low[at] + part * (high[at] - low[at])));
}
const RAMP_TABLE = Array.from({ length: 256 }, (_, value) => rampColour(value));

// Calls visit(index in the volume, index in the picture) for every pixel of the slice.
function eachPixel(shape, plane, slice, visit) {
  const strides = [shape[1] * shape[2], shape[2], 1];
  const [rows, columns] = [shape[plane.row], shape[plane.column]];
  for (let r = 0; r < rows; r += 1) {
    const row = plane.upsideDown ? rows - 1 - r : r;
    let source = slice * strides[plane.axis] + row * strides[plane.row];
    for (let c = 0; c < columns; c += 1, source += strides[plane.column]) visit(source, r * columns + c);
  }
}

// Pixels of the canvas per voxel, (height, width): whole numbers where voxels are square.
function voxelSize(shape, spacing, plane, target) {
  const [high, wide] = [spacing[plane.row], spacing[plane.column]];
  const unit = Math.min(high, wide);
  const longest = Math.max(shape[plane.row] * high, shape[plane.column] * wide) / unit;
  const scale = Math.max(1, Math.floor(target / longest));
  return [(scale * high) / unit, (scale * wide) / unit];
}

// view: {shape, spacing, position, scan, fills: [{pixels, opacity}], lines: [{labels, colours}], target}.
// pixels: volume index -> [r, g, b, alpha of 1] or null.
function drawSlice(canvas, view, planeName) {
  const plane = PLANES[planeName];
  const [rows, columns] = [view.shape[plane.row], view.shape[plane.column]];
  const [high, wide] = voxelSize(view.shape, view.spacing, plane, view.target);
  canvas.width = Math.round(columns * wide);
  canvas.height = Math.round(rows * high);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const slice = view.position[plane.axis];
  if (view.scan) {
    const grey = (index) => [view.scan[index], view.scan[index], view.scan[index], 1];
    paint(context, asPicture(view, plane, slice, grey), true, 1);
  }
  for (const fill of view.fills) paint(context, asPicture(view, plane, slice, fill.pixels), false, fill.opacity);
  for (const line of view.lines) outline(context, view, plane, slice, line, [high, wide]);
  function asPicture(what, how, at, pixels) {
    const picture = make("canvas", { width: columns, height: rows });
    const target = picture.getContext("2d");
    const image = target.createImageData(columns, rows);
    eachPixel(what.shape, how, at, (source, index) => {
      const colour = pixels(source);
      if (!colour) return;
      image.data.set([colour[0], colour[1], colour[2], Math.round(255 * colour[3])], 4 * index);
    });
    target.putImageData(image, 0, 0);
    return picture;
  }
}

function paint(context, picture, smooth, opacity) {
  context.save();
  context.globalAlpha = opacity;
  context.imageSmoothingEnabled = smooth;
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, context.canvas.width, context.canvas.height);
  context.restore();
}

// The border of every label, along the edges of voxels and inside the label, so that neighbours do not hide each other.
function outline(context, view, plane, slice, line, [high, wide]) {
  const [rows, columns] = [view.shape[plane.row], view.shape[plane.column]];
  const flat = new Uint8Array(rows * columns);
  eachPixel(view.shape, plane, slice, (source, index) => { flat[index] = line.labels[source]; });
  const at = (r, c) => (r < 0 || c < 0 || r >= rows || c >= columns ? 0 : flat[r * columns + c]);
  const thick = Math.max(1, Math.min(high, wide) * 0.4);
  for (let r = 0; r < rows; r += 1) {
    for (let c = 0; c < columns; c += 1) {
      const label = flat[r * columns + c];
      if (!label) continue;
      const [left, top] = [c * wide, r * high];
      context.fillStyle = line.colours(label);
      if (at(r - 1, c) !== label) context.fillRect(left, top, wide, thick);
      if (at(r + 1, c) !== label) context.fillRect(left, top + high - thick, wide, thick);
      if (at(r, c - 1) !== label) context.fillRect(left, top, thick, high);
      if (at(r, c + 1) !== label) context.fillRect(left + wide - thick, top, thick, high);
    }
  }
}

function drawMarks(canvas, planeName) {
  const context = canvas.getContext("2d");
  const size = Math.max(11, Math.round(canvas.width / 40));
  const [middleX, middleY, edge] = [canvas.width / 2, canvas.height / 2, size * 0.8];
  const places = [[middleX, edge], [canvas.width - edge, middleY], [middleX, canvas.height - edge], [edge, middleY]];
  context.save();
  context.font = `${size}px system-ui, sans-serif`;
  context.fillStyle = "rgb(232 235 240 / 70%)";
  context.textAlign = "center";
  context.textBaseline = "middle";
  PLANES[planeName].marks.forEach((mark, index) => context.fillText(mark, ...places[index]));
  context.restore();
}

// Where the main slice lies, on a picture of another plane.
function drawPosition(canvas, view, planeName, mainName) {
  const plane = PLANES[planeName];
  const axis = PLANES[mainName].axis;
  const [high, wide] = voxelSize(view.shape, view.spacing, plane, view.target);
  const context = canvas.getContext("2d");
  context.fillStyle = "rgb(255 255 255 / 55%)";
  if (axis === plane.column) context.fillRect((view.position[axis] + 0.5) * wide, 0, 1, canvas.height);
  if (axis === plane.row) {
    const row = plane.upsideDown ? view.shape[axis] - 1 - view.position[axis] : view.position[axis];
    context.fillRect(0, (row + 0.5) * high, canvas.width, 1);
  }
}

// The voxel under a point of the canvas (0..1 of its width and height).
function voxelAt(view, planeName, fromLeft, fromTop) {
  const plane = PLANES[planeName];
  const clamp = (value, size) => Math.max(0, Math.min(size - 1, Math.floor(value * size)));
  const voxel = [...view.position];
  const row = clamp(fromTop, view.shape[plane.row]);
  voxel[plane.row] = plane.upsideDown ? view.shape[plane.row] - 1 - row : row;
  voxel[plane.column] = clamp(fromLeft, view.shape[plane.column]);
  return voxel;
}
