// The page: two places for photos, and the answer to what lies in them.

import { ask } from "./api.js";
import { drawFaces, fit, nameOf } from "./draw.js";
import { compared, found } from "./result.js";

const get = (id) => document.getElementById(id);
const places = [...document.querySelectorAll("section.photo")].map(place);
const thresholds = {}; // measured ones, by network
const limits = {};
let running = new AbortController();
let answer = null; // of /v1/compare, to decide anew when the threshold changes

function place(section, index) {
  const find = (selector) => section.querySelector(selector);
  const self = {
    file: null, section, input: find("input"), drop: find(".drop"), figure: find("figure"), frame: find(".frame"), img: find("img"),
    svg: find("svg"), caption: find("figcaption"), remove: find(".remove"),
  };
  self.input.addEventListener("change", () => self.input.files.length && put(index, self.input.files[0]));
  self.img.addEventListener("error", () => { // the server may yet know better than this browser
    self.frame.hidden = true;
    self.caption.textContent = "This browser cannot show the file.";
  });
  self.remove.addEventListener("click", () => { put(index, null); self.input.focus(); });
  new ResizeObserver(() => self.img.naturalWidth && fit(self.img, self.svg)).observe(self.img);
  return self;
}

function put(index, file) {
  const at = places[index];
  if (at.img.src) URL.revokeObjectURL(at.img.src);
  at.file = file;
  at.input.value = "";
  at.svg.replaceChildren();
  at.caption.textContent = "";
  at.drop.classList.toggle("filled", Boolean(file));
  at.figure.hidden = at.remove.hidden = !file;
  at.frame.hidden = false;
  if (file) at.img.src = URL.createObjectURL(file); else at.img.removeAttribute("src");
  at.img.alt = file ? ["First photo", "Second photo"][index] : "";
  run();
}

async function run() {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const files = places.filter(({ file }) => file);
  const comparing = files.length === 2;
  get("photos").classList.toggle("comparing", comparing);
  document.querySelectorAll(".compare-only").forEach((element) => { element.hidden = !comparing; });
  answer = null;
  show();
  if (!files.length) return;
  const tooLarge = files.find(({ file }) => file.size > (limits.max_image_bytes ?? Infinity));
  if (tooLarge) {
    const most = Math.floor(limits.max_image_bytes / 2 ** 20);
    return complain({ message: `This photo is too large: the server takes at most ${most} MiB. Make it smaller and try again.` });
  }
  get("status").textContent = comparing ? "Comparing the faces …" : "Looking for faces …";
  const request = { files: files.map(({ file }) => file), key: get("key").value, signal };
  try {
    if (comparing) {
      const told = await ask("/v1/compare", { ...request, options: { model: get("model").value, faces: "all" } });
      signal.throwIfAborted();
      get("photos").classList.toggle("crowded", told.images.some(({ faces }) => faces.length > 2));
      await Promise.all(places.map((at, i) => draw(at, told.images[i], i, signal)));
      signal.throwIfAborted();
      answer = told;
      decide();
      get("result").scrollIntoView({ block: "nearest" });
    } else {
      const { images: [image] } = await ask("/v1/detect", request);
      signal.throwIfAborted();
      const index = places.indexOf(files[0]);
      await draw(files[0], image, index, signal);
      signal.throwIfAborted();
      get("status").textContent = "";
      show(found(image, index));
    }
    if (!limits.max_image_bytes) learn().catch(() => {}); // the server was starting when the page was opened
  } catch (problem) {
    if (!signal.aborted) complain(problem); // of photos that are no longer here nothing is told
  }
}

function decide() {
  const threshold = get("threshold").value === "" ? answer.threshold : Number(get("threshold").value);
  get("status").textContent = "";
  show(compared(answer, threshold));
}

async function draw(at, image, index, signal) {
  await at.img.decode().catch(() => {}); // a format that only the server reads: no drawing, but the text below
  signal.throwIfAborted(); // another photo may have taken its place meanwhile
  const names = image.faces.map((_, face) => nameOf(index, face));
  if (at.img.naturalWidth) drawFaces(at.img, at.svg, image.faces, names);
  const count = image.faces.length;
  at.caption.textContent = count === 1 ? "1 face" : `${count || "No"} faces`;
  if (image.face_count > count) at.caption.textContent += `, the best of ${image.face_count}`;
}

function show(...children) {
  get("error").replaceChildren();
  get("status").textContent = "";
  get("result").replaceChildren(...children);
  get("result").hidden = !children.length;
}

function complain(problem) {
  show();
  const words = document.createElement("p");
  words.textContent = problem.message;
  get("error").append(words);
  if (problem.canRetry) {
    const again = document.createElement("button");
    again.type = "button";
    again.textContent = "Try again";
    again.addEventListener("click", run);
    get("error").append(again);
  }
  if (problem.code === "api_key") {
    get("key-field").hidden = false;
    get("key").focus();
  }
  get("error").scrollIntoView({ block: "nearest" });
}

function take(list) {
  const files = [...list].slice(0, 2);
  if (files.length === 2) return files.forEach((file, index) => put(index, file));
  const empty = places.findIndex(({ file }) => !file);
  if (files.length) put(empty < 0 ? 1 : empty, files[0]);
}

async function learn() {
  const { models, limits: told } = await ask("/v1/models", { key: get("key").value });
  Object.assign(limits, told);
  models.forEach(({ name, distance_threshold }) => { thresholds[name] = distance_threshold ?? undefined; });
  suggest();
}

// The measured threshold stands in the empty field.
function suggest() {
  const threshold = thresholds[get("model").value];
  get("threshold").placeholder = threshold === undefined ? "none" : threshold.toFixed(3);
}

document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const over = places.findIndex(({ section }) => section.contains(event.target));
  const { files } = event.dataTransfer;
  if (over >= 0 && files.length === 1) put(over, files[0]); else take(files);
});
document.addEventListener("paste", (event) => take(event.clipboardData.files));
get("model").addEventListener("change", () => { suggest(); run(); });
get("threshold").addEventListener("input", () => answer && decide());
get("options").addEventListener("submit", (event) => {
  event.preventDefault();
  if (get("key-field").hidden) return;
  learn().catch((problem) => problem.code === "api_key" && complain(problem));
  run();
});
learn().catch(({ code }) => { if (code === "api_key") get("key-field").hidden = false; });
