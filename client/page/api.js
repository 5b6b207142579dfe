// Calls to /v1, and what goes wrong with them in words for people.

const KIND_WORDS = {
  image_format: "This file is not a photo that the server can read. Use a JPEG, PNG, WebP or BMP file.",
  image_truncated: "This file ends before the photo does. Try to save or download it again.",
  image_unreadable: "This file is damaged. Try to save or download it again.",
  image_empty: "This file is empty.",
  image_too_large: "This photo is too large for the server. Make it smaller and try again.",
  body_too_large: "These photos are too large together. Make them smaller and try again.",
  api_key: "This server asks for a key. Enter it and try again.",
};
const STATUS_WORDS = {
  408: "The photo took too long to arrive. Try a smaller one.",
  503: "The server is busy or still starting. Wait a moment and try again.",
  504: "The server took too long. Try again, or use a smaller photo.",
};

export class Problem extends Error {
  constructor(status, code, message) {
    super(message);
    this.code = code;
    this.canRetry = status === 0 || status >= 500 || status === 408;
  }
}

export async function ask(path, { files = [], options = {}, key = "", signal } = {}) {
  const form = new FormData();
  files.forEach((file) => form.append("image", file));
  Object.entries(options).forEach(([name, value]) => form.append(name, value));
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const request = files.length ? { method: "POST", body: form, headers, signal } : { headers, signal };
  const response = await fetch(path, request).catch(refuse);
  const answer = await read(response);
  if (response.ok) return answer;
  const { code = "unknown", message = "" } = answer.error ?? {};
  const which = message.match(/^picture (\d): /)?.[1];
  const words = KIND_WORDS[code] ?? STATUS_WORDS[response.status] ?? `The server says: ${message || response.status}.`;
  const place = { 1: "First photo: ", 2: "Second photo: " }[which] ?? "";
  throw new Problem(response.status, code, place + words);
}

async function read(response) {
  try {
    return await response.json();
  } catch (error) {
    if (!response.ok && error.name !== "AbortError") return {}; // a proxy's own page: its status tells
    return refuse(error); // cut off on the way
  }
}

function refuse(error) {
  if (error.name === "AbortError") throw error;
  throw new Problem(0, "unreachable", "The server cannot be reached. Is it still running?");
}
