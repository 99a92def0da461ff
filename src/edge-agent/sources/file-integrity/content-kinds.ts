/** The kinds of watched files as the engine uses them: bound to the agent's own key. */
import type { ContentKinds } from "./examination.ts";
import { describeChange } from "./kinds/describe-change.ts";
import { accountState, ownerByHome } from "./kinds/login-state.ts";
import { reduceContent } from "./kinds/reduce-content.ts";
import type { TagKey } from "./kinds/secret-marker.ts";

export function contentKinds(key: TagKey): ContentKinds {
  return {
    reduce: (bytes, { kind, path }) => reduceContent(bytes, { kind, path, key }),
    describe: ({ kind, path, before, after, accounts }) => {
      const owner = accounts === undefined ? undefined : ownerByHome(path, accounts.after);
      const description = describeChange(before, after, { kind, path, owner });
      const state = accounts === undefined ? undefined : accountState(accounts);
      return state === undefined ? description : { ...description, state };
    },
  };
}
