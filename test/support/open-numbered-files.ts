/**
 * A generator of numbered events, run as a process of its own: opens `<folder>/<number>` for writing, at a steady rate.
 * Arguments: folder, first number, how many, how many a second. Prints one line when it is done.
 */
import { closeSync, openSync, unlinkSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

const [folder, firstText, countText, rateText] = process.argv.slice(2);
const first = Number(firstText);
const end = first + Number(countText);
const perMillisecond = Number(rateText) / 1000;

const startedMs = performance.now();
let next = first;
while (next < end) {
  const due = Math.min(end, first + Math.floor((performance.now() - startedMs) * perMillisecond));
  for (; next < due; next++) {
    const path = `${folder}/${next}`;
    closeSync(openSync(path, "w"));
    unlinkSync(path);
  }
  await delay(2);
}
console.log(`opened ${end - first} files in ${Math.round(performance.now() - startedMs)} ms`);
