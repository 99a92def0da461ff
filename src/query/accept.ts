/** Which form of an answer a request prefers, by its `Accept` header (RFC 9110, 12.5.1). */
import { ProblemError } from "./problem.ts";

export interface Offer<Form extends string> {
  readonly form: Form;
  /** The first is what the answer is called; the others are names that are understood. */
  readonly types: readonly [string, ...string[]];
}

interface Preference {
  readonly type: string;
  readonly quality: number;
}

/** The offer that fits best, the first of equals. Throws 406 when none is accepted. */
export function negotiate<Form extends string>(
  accept: string | undefined,
  offers: readonly Offer<Form>[],
): Form {
  const preferences = parseAccept(accept ?? "*/*");
  let best: { readonly form: Form; readonly quality: number } | undefined;
  for (const { form, types } of offers) {
    const quality = Math.max(...types.map((type) => qualityOf(type, preferences)));
    if (quality > (best?.quality ?? 0)) best = { form, quality };
  }
  if (best !== undefined) return best.form;
  throw new ProblemError(406, "None of the accepted media types can be given", {
    parameter: "Accept",
    accepted: offers.map(({ types }) => types[0]).join(", "),
  });
}

function parseAccept(text: string): Preference[] {
  return text.split(",").map((part) => {
    const [type = "", ...parameters] = part.split(";").map((each) => each.trim().toLowerCase());
    const quality = parameters.find((each) => each.startsWith("q="))?.slice(2) ?? "1";
    const value = Number(quality);
    return { type, quality: value >= 0 && value <= 1 ? value : 0 };
  });
}

/** The most specific preference that names a type decides. */
function qualityOf(type: string, preferences: readonly Preference[]): number {
  const [family] = type.split("/");
  for (const name of [type, `${family}/*`, "*/*"]) {
    const found = preferences.find((each) => each.type === name);
    if (found !== undefined) return found.quality;
  }
  return 0;
}
