/**
 * Which form of an answer a request prefers, by its `Accept` header (RFC 9110, 12.5.1). Of a media type's parameters
 * only `profile` tells forms apart; others, such as `charset`, are ignored.
 */
import { ProblemError } from "./problem.ts";

export interface Offer<Form extends string> {
  readonly form: Form;
  /** The first is what the answer is called; the others are names that are understood. */
  readonly types: readonly [string, ...string[]];
  /** Of the types; without one, the form is meant by them alone. */
  readonly profile?: string;
}

interface Preference {
  readonly type: string;
  readonly profile: string | undefined;
  readonly quality: number;
}

/** The offer that fits best, the first of equals. Throws 406 when none is accepted. */
export function negotiate<Form extends string>(
  accept: string | undefined,
  offers: readonly Offer<Form>[],
): Form {
  const preferences = parseAccept(accept ?? "*/*");
  let best: { readonly form: Form; readonly quality: number } | undefined;
  for (const { form, types, profile } of offers) {
    const quality = Math.max(...types.map((type) => qualityOf({ type, profile }, preferences)));
    if (quality > (best?.quality ?? 0)) best = { form, quality };
  }
  if (best !== undefined) return best.form;
  throw new ProblemError(406, "None of the accepted media types can be given", {
    parameter: "Accept",
    accepted: offers.map(({ types, profile }) => withProfile(types[0], profile)).join(", "),
  });
}

/** A media type as headers spell it. */
export function withProfile(type: string, profile: string | undefined): string {
  return profile === undefined ? type : `${type}; profile=${profile}`;
}

function parseAccept(text: string): Preference[] {
  return text.split(",").map((part) => {
    const [type = "", ...parameters] = part.split(";").map((each) => each.trim().toLowerCase());
    const value = Number(valueOf("q", parameters) ?? "1");
    return {
      type,
      profile: valueOf("profile", parameters),
      quality: value >= 0 && value <= 1 ? value : 0,
    };
  });
}

function valueOf(name: string, parameters: readonly string[]): string | undefined {
  const found = parameters.find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1);
  return found?.replace(/^"(.*)"$/, "$1");
}

/** The most specific preference that names a type decides; one with a profile names no type of another. */
function qualityOf(
  { type, profile }: Pick<Preference, "type" | "profile">,
  preferences: readonly Preference[],
): number {
  const [family] = type.split("/");
  const names = [[type, profile], [type, undefined], [`${family}/*`, undefined], [
    "*/*",
    undefined,
  ]];
  for (const [name, wanted] of names) {
    const found = preferences.find((each) => each.type === name && each.profile === wanted);
    if (found !== undefined) return found.quality;
  }
  return 0;
}
