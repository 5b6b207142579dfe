// What was found, in words and tables.

import { drawScale, nameOf, score } from "./draw.js";

const SHOWN = 10; // pairs before the rest is folded away

export function found({ faces, face_count: count }, photo) {
  if (!faces.length) return heading("No face found", "Try a photo where a face is larger or looks towards the camera.");
  const rows = faces.map((face, index) => [nameOf(photo, index), score(face), size(face)]);
  const title = count === 1 ? "1 face found" : `${count} faces found`;
  return join(heading(title), table("The faces, surest first", ["Face", "Score", "Size in pixels"], rows));
}

export function compared({ pairs, images }, threshold) {
  const empty = images.findIndex(({ faces }) => !faces.length);
  if (empty >= 0) {
    return heading(`No face found in the ${["first", "second"][empty]} photo`, "There is nothing to compare it with.");
  }
  const known = Number.isFinite(threshold);
  const matches = pairs.filter(({ distance }) => known && distance < threshold).length;
  const [{ distance }] = pairs;
  const words = ({ distance }) => (known ? (distance < threshold ? "same person" : "different people") : "–");
  const cells = (pair) => [
    `${nameOf(0, pair.first)} and ${nameOf(1, pair.second)}`, pair.distance.toFixed(3), pair.cosine.toFixed(3), words(pair),
  ];
  const head = ["Faces", "Distance", "Cosine", "Verdict"];
  const parts = [verdict(pairs, matches, threshold), drawScale(distance, threshold)];
  parts.push(table("Pairs of faces, closest first", head, pairs.slice(0, SHOWN).map(cells)));
  if (pairs.length > SHOWN) {
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    summary.textContent = `The other ${pairs.length - SHOWN} pairs`;
    details.append(summary, table("The other pairs", head, pairs.slice(SHOWN).map(cells)));
    parts.push(details);
  }
  return join(...parts);
}

function verdict(pairs, matches, threshold) {
  const [{ distance }] = pairs;
  const closest = `${pairs.length > 1 ? "The closest distance" : "The distance"} is ${distance.toFixed(3)}`;
  if (!Number.isFinite(threshold)) {
    return heading(`${closest}`, "No threshold was measured for these weights. Enter one to decide.");
  }
  const side = `${closest}, ${matches ? "below" : "not below"} the threshold ${threshold.toFixed(3)}.`;
  if (pairs.length === 1) return heading(matches ? "Same person" : "Different people", side);
  const title = { 0: "No faces match", 1: "1 pair of faces matches" }[matches] ?? `${matches} pairs of faces match`;
  return heading(title, side);
}

function size({ box }) {
  return `${Math.round(box.x2 - box.x1)} × ${Math.round(box.y2 - box.y1)}`;
}

function heading(title, words = "") {
  const h2 = document.createElement("h2");
  h2.textContent = title;
  if (!words) return h2;
  const p = document.createElement("p");
  p.textContent = words;
  return join(h2, p);
}

function table(title, head, rows) {
  const element = document.createElement("table");
  element.createCaption().textContent = title;
  const line = element.createTHead().insertRow();
  head.forEach((text) => {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = text;
    line.append(cell);
  });
  const body = element.createTBody();
  rows.forEach((cells) => {
    const row = body.insertRow();
    cells.forEach((text) => { row.insertCell().textContent = text; });
  });
  return element;
}

function join(...children) {
  const fragment = document.createDocumentFragment();
  fragment.append(...children);
  return fragment;
}
