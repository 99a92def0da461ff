/** Refusals of what is too much at the same time. */
import { ProblemError } from "../problem.ts";

const RETRY_AFTER_SECONDS = 5;

/** Throws 503 with a time to wait when there is no room for more. */
export function busyWhen(isFull: boolean): void {
  if (!isFull) return;
  throw new ProblemError(503, "There are as many clients as there may be", {
    headers: { "Retry-After": String(RETRY_AFTER_SECONDS) },
  });
}
