/** What a method of `/rpc` is: a pure mapping from parameters to parts and a result, in the name of a principal. */
import type { Principal } from "../principal.ts";
import type { TimeContext } from "../time-text.ts";

export interface RpcCall {
  readonly params: unknown;
  readonly principal: Principal;
  readonly time: TimeContext;
  /** Aborted when the call is cancelled, the client is gone, its token ends or the service stops. */
  readonly signal: AbortSignal;
  /**
   * Sends a part of the answer as a notification; `members` are members of its params, as JSON. Resolves when the next
   * may be sent: a slow client is waited for.
   */
  part(method: string, members: string): Promise<void>;
  /** Tells the audit what was read; without rows, that reading begins. */
  report(rows?: { readonly rows: number; readonly outcome: "success" | "failure" }): void;
}

/**
 * Runs what reads the record, and tells the audit how it ended, whichever way it does: with the rows that `sent` has
 * then. Who cancels or leaves has got what they wanted.
 */
export async function reported<T>(
  { report, signal }: RpcCall,
  sent: { readonly rows: number },
  read: () => Promise<T>,
): Promise<T> {
  let outcome: "success" | "failure" = "failure";
  try {
    const result = await read();
    outcome = "success";
    return result;
  } catch (error) {
    if (signal.aborted) outcome = "success";
    throw error;
  } finally {
    report({ rows: sent.rows, outcome });
  }
}

export interface RpcMethod {
  /** Whether it goes on until it is cancelled, or for as long as it likes. */
  isEndless(params: unknown): boolean;
  /** The result. Throws a `ProblemError` that the client is told. */
  run(call: RpcCall): Promise<unknown>;
}
