/** Work that is done one after the other, with a bound on what waits. */

export interface Turns {
  /** Does it when its turn comes; false when too much waits already. */
  add(act: () => Promise<void>): boolean;
}

/** At most `waitingMax` are in work or wait; what fails is told to `onFailure`, and the next one has its turn. */
export function createTurns(waitingMax: number, onFailure: (error: unknown) => void): Turns {
  let waiting = 0;
  let last = Promise.resolve();
  return {
    add(act) {
      if (waiting >= waitingMax) return false;
      waiting += 1;
      last = last.then(act).catch(onFailure).finally(() => {
        waiting -= 1;
      });
      return true;
    },
  };
}
