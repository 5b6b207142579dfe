// Faces drawn over a photo. The drawing has the photo's own pixels as its units, and is as large as the photo is shown.

const SVG = "http://www.w3.org/2000/svg";
const LINE = 2.5, DOT = 2.5, TEXT = 15; // on the screen, in CSS pixels
const ROOM = 60; // a narrower box on the screen has its name alone: scores would cover the faces beside it

export function drawFaces(img, svg, faces, names) {
  svg.setAttribute("viewBox", `0 0 ${img.naturalWidth} ${img.naturalHeight}`);
  svg.replaceChildren(...faces.map((face, index) => drawFace(face, names[index])));
  fit(img, svg);
}

// Faces of the first photo are 1, 2, 3; those of the second A, B, C, and after Z AA, AB, AC.
export function nameOf(photo, face) {
  if (photo === 0) return String(face + 1);
  const letter = String.fromCharCode(65 + (face % 26));
  return face < 26 ? letter : nameOf(photo, Math.floor(face / 26) - 1) + letter;
}

// Lines, dots and letters keep their size on the screen, whatever the size of the photo.
export function fit(img, svg) {
  if (!img.clientWidth || !img.clientHeight) return; // not laid out yet
  const unit = Math.max(img.naturalWidth / img.clientWidth, img.naturalHeight / img.clientHeight);
  for (const group of svg.children) {
    const [rect, ...others] = group.children;
    const text = others.pop();
    const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => Number(rect.getAttribute(name)));
    const above = y > TEXT * unit; // else below, inside of the photo
    rect.setAttribute("stroke-width", LINE * unit);
    others.forEach((dot) => dot.setAttribute("r", Math.min(DOT * unit, width / 20)));
    text.textContent = width > ROOM * unit || svg.children.length === 1 ? `${text.dataset.name} · ${text.dataset.score}` : text.dataset.name;
    text.setAttribute("font-size", TEXT * unit);
    text.setAttribute("stroke-width", 4 * unit);
    text.setAttribute("x", Math.max(x, 2 * unit));
    text.setAttribute("y", above ? Math.max(y - 6 * unit, (TEXT - 1) * unit) : Math.min(y + height + (TEXT + 4) * unit, img.naturalHeight - 4 * unit));
  }
}

function drawFace(face, name) {
  const { x1, y1, x2, y2 } = face.box;
  const group = node("g", { role: "img", "aria-label": `Face ${name}, score ${score(face)}` });
  group.append(node("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1 }));
  Object.values(face.landmarks).forEach(([cx, cy]) => group.append(node("circle", { cx, cy })));
  const text = node("text", {});
  Object.assign(text.dataset, { name, score: score(face) });
  group.append(text);
  return group;
}

export function score(face) {
  return (Math.floor(face.score * 100) / 100).toFixed(2); // 0.996 is not 1.00
}

// A line from 0 to 2 with the threshold and a distance on it.
export function drawScale(distance, threshold) {
  const svg = node("svg", { class: "scale", viewBox: "-8 0 416 44", role: "img" });
  const at = (value) => Math.min(Math.max(value, 0), 2) * 200;
  const known = Number.isFinite(threshold);
  svg.setAttribute("aria-label", `Distance ${distance.toFixed(3)} from 0 to 2` + (known ? `, threshold ${threshold.toFixed(3)}` : ""));
  if (known) svg.append(node("rect", { class: "same", x: 0, y: 14, width: at(threshold), height: 10, rx: 2 }));
  if (known) svg.append(node("rect", { class: "other", x: at(threshold), y: 14, width: 400 - at(threshold), height: 10, rx: 2 }));
  else svg.append(node("rect", { class: "unknown", x: 0, y: 14, width: 400, height: 10, rx: 2 }));
  svg.append(node("path", { class: "mark", d: `M${at(distance)} 25 l-7 -16 h14 z` }));
  svg.append(node("text", { x: 0, y: 42 }, "0"), node("text", { x: 400, y: 42, "text-anchor": "end" }, "2"));
  if (known) svg.append(node("text", { x: at(threshold), y: 42, "text-anchor": "middle" }, `threshold ${threshold.toFixed(3)}`));
  return svg;
}

function node(name, attributes, text = "") {
  const element = document.createElementNS(SVG, name);
  Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
  if (text) element.textContent = text;
  return element;
}
