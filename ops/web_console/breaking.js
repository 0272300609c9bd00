// The bar that breaks things, in the demo.

import { ask } from "./feed.js";
import { byId, h, text } from "./dom.js";

const WAYS = [
  ["poison", "Poison pill", "Send bytes that are no event: they go to the dead letters, everything else goes on"],
  ["schema", "Incompatible schema", "Try to register a schema that breaks readers: the registry refuses it"],
  ["burst", "Burst × 10", "Send ten times as many events for some seconds: watch lag and latency"],
  ["kill", "Kill the worker", "kill -9: this page loses its worker too, and finds it again"],
];

/** Shows the bar; `done` is called with what was done and what came of it. */
export function breaking(done) {
  const bar = byId("break-buttons");
  if (bar.firstChild) return;
  const buttons = WAYS.map(([what, name, hint]) => h("button", { type: "button", title: hint, "data-what": what, onclick: () => press(what) }, name));
  bar.append(...buttons);

  async function press(what) {
    for (const button of buttons) button.disabled = true;
    const answer = byId("break-answer");
    try {
      const found = await ask("/console/break", { what });
      text(byId("break-told"), found.told);
      answer.hidden = !found.answer;
      text(answer, found.answer);
      done(what, found);
    } catch (error) {
      text(byId("break-told"), error.message);
      answer.hidden = true;
    } finally {
      for (const button of buttons) button.disabled = false;
      buttons.find((button) => button.dataset.what === what).focus({ preventScroll: true });
    }
  }
}
