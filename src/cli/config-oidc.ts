/** `[oidc]`, or several `[[oidc]]`: an issuer whose tokens the query service takes, and what their claims come to. */
import "./schema-settings.ts";
import { type } from "arktype";
import { faultOfGrant } from "../query/oidc/grants.ts";
import { faultOfIssuers } from "../query/oidc/issuers.ts";
import { TOKEN_ROLES } from "../storage/token.ts";

const text = type("string > 0").describe("text that is not empty");
const someTexts = text.array().atLeastLength(1).describe(
  'a list of at least one text, such as ["a"]',
);

export const OIDC_FORM =
  "a table of issuer, audience, grants, and algorithms, clock_skew, name, name_claim";

export const oidc = type({
  "+": "reject",
  issuer: text,
  audience: text,
  "algorithms?": someTexts,
  "clock_skew?": type("0 <= number.integer <= 300").describe("a whole number of seconds up to 300"),
  "name?": type(/^[a-z0-9][a-z0-9-]{0,31}$/).describe("1 to 32 of a-z, 0-9 and -"),
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

/** Several of them. */
export const oidcList = oidc.array().narrow((all, context) => {
  const fault = faultOfIssuers(all);
  if (fault === undefined) return true;
  return context.reject({ expected: fault.expected, relativePath: [fault.at, fault.key] });
});

type OidcTable = typeof oidc.infer;
/** As it stands in the file; undefined without the section. */
export type OidcSection = OidcTable | readonly OidcTable[] | undefined;

/** In the names of the query service. */
export function oidcSettingsOf(section: OidcSection) {
  return [section ?? []].flat().map(settingsOf);
}

function settingsOf(table: OidcTable) {
  const { clock_skew: skewSeconds, name_claim: nameClaim, ...rest } = table;
  return {
    ...rest,
    ...(skewSeconds === undefined ? {} : { skewSeconds }),
    ...(nameClaim === undefined ? {} : { nameClaim }),
  };
}
