/** `[oidc]`: an issuer whose tokens the query service takes, and what their claims come to. */
import "./schema-settings.ts";
import { type } from "arktype";
import { faultOfGrant } from "../query/oidc/grants.ts";
import { TOKEN_ROLES } from "../storage/token.ts";

const text = type("string > 0").describe("text that is not empty");
const someTexts = text.array().atLeastLength(1).describe(
  'a list of at least one text, such as ["a"]',
);

export const OIDC_FORM =
  "a table of issuer, audience, grants, and algorithms, clock_skew, name_claim";

export const oidc = type({
  "+": "reject",
  issuer: text,
  audience: text,
  "algorithms?": someTexts,
  "clock_skew?": type("0 <= number.integer <= 300").describe("a whole number of seconds up to 300"),
  "name_claim?": text,
  grants: type({
    "+": "reject",
    claim: text,
    value: text,
    role: type.enumerated(...TOKEN_ROLES).configure({
      expected: `one of ${TOKEN_ROLES.join(", ")}`,
    }),
    "hosts?": someTexts,
    "topics?": someTexts,
    "hosts_claim?": text,
    "topics_claim?": text,
  }).narrow((grant, context) => {
    const expected = faultOfGrant(grant);
    return expected === undefined || context.reject({ expected });
  }).array(),
}).describe(OIDC_FORM);

/** As it stands in the file; undefined without the section. */
export type OidcSection = typeof oidc.infer | undefined;

/** In the names of the query service. */
export function oidcSettingsOf(section: NonNullable<OidcSection>) {
  const { clock_skew: skewSeconds, name_claim: nameClaim, ...rest } = section;
  return {
    ...rest,
    ...(skewSeconds === undefined ? {} : { skewSeconds }),
    ...(nameClaim === undefined ? {} : { nameClaim }),
  };
}
