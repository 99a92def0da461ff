/** Answers that are still being sent, so that a stop can wait for them. */

export interface Activity {
  /** How many are being sent. */
  readonly count: number;
  /** States that one begins; the function that is returned states its end. */
  begin(): () => void;
  /** Resolves when none is being sent, or after the limit. */
  settled(limitMs: number): Promise<void>;
}

export function createActivity(): Activity {
  let count = 0;
  const waiting = new Set<() => void>();
  return {
    get count() {
      return count;
    },
    begin() {
      count += 1;
      let hasEnded = false;
      return () => {
        if (hasEnded) return;
        hasEnded = true;
        count -= 1;
        if (count === 0) { for (const resolve of waiting) resolve(); }
      };
    },
    settled(limitMs) {
      if (count === 0) return Promise.resolve();
      return new Promise((resolve) => {
        const done = (): void => {
          clearTimeout(timer);
          waiting.delete(done);
          resolve();
        };
        const timer = setTimeout(done, limitMs);
        waiting.add(done);
      });
    },
  };
}
