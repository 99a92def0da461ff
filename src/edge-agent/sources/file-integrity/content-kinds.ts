/** The kinds of watched files as the engine uses them: bound to the agent's own key. */
import type { ContentKinds } from "./examination.ts";
import { describeChange } from "./kinds/describe-change.ts";
import { reduceContent } from "./kinds/reduce-content.ts";
import type { TagKey } from "./kinds/secret-marker.ts";

export function contentKinds(key: TagKey): ContentKinds {
  return {
    reduce: (bytes, { kind, path }) => reduceContent(bytes, { kind, path, key }),
    describe: ({ kind, path, before, after }) => describeChange(before, after, { kind, path }),
  };
}
