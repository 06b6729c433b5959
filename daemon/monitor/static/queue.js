import { fill, h } from "./dom.js";

export async function open(page) {
  fill(page, h("h1", {}, "Queue"));
}
