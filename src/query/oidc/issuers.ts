/**
 * Several OpenID Connect issuers: each token is judged by the one that it names, and by no other.
 *
 * Invariant: two people whom different issuers call the same have different names here, since issuers do.
 */
import {
  type FindOptions,
  type Oidc,
  type OidcCaller,
  type OidcOptions,
  type OidcSettings,
  openOidc,
} from "./oidc.ts";
import { issuerOf } from "./verify.ts";

/** Of one service. */
export const ISSUERS_MAX = 16;

/** Undefined without any; throws when settings cannot be used, or not together. The stack ends them. */
export function openIssuers(
  settings: readonly OidcSettings[],
  { stack, ...parts }: Pick<OidcOptions, "clock" | "log"> & {
    readonly stack: AsyncDisposableStack;
  },
): Pick<Oidc, "find"> | undefined {
  const fault = faultOfIssuers(settings);
  if (fault !== undefined) throw new Error(`Cannot use [[oidc]]: expected ${fault.expected}`);
  const byIssuer = new Map<string, Oidc>();
  for (const each of settings) {
    byIssuer.set(each.issuer, stack.use(openOidc({ ...each, ...parts })));
  }
  const [first] = byIssuer.values();
  if (first === undefined) return undefined;
  return {
    async find(token: string, options?: FindOptions): Promise<OidcCaller | "away" | undefined> {
      const issuer = issuerOf(token);
      // Whichever refuses it, it says the same and asks nobody.
      const oidc = (issuer === undefined ? undefined : byIssuer.get(issuer)) ?? first;
      return await oidc.find(token, options);
    },
  };
}

export interface IssuersFault {
  /** Which of them, and what of it. */
  readonly at: number;
  readonly key: "issuer" | "name";
  readonly expected: string;
}

/** What is wrong with issuers beside each other; undefined when nothing is. */
export function faultOfIssuers(
  settings: readonly Pick<OidcSettings, "issuer" | "name">[],
): IssuersFault | undefined {
  if (settings.length > ISSUERS_MAX) {
    return { at: ISSUERS_MAX, key: "issuer", expected: `at most ${ISSUERS_MAX} issuers` };
  }
  const secondOf = (key: IssuersFault["key"]): number => {
    const values = settings.map((each) => each[key] ?? "");
    return values.findIndex((value, at) => values.indexOf(value) < at);
  };
  const faults: readonly IssuersFault[] = [
    { at: secondOf("issuer"), key: "issuer", expected: "another issuer than those before" },
    { at: secondOf("name"), key: "name", expected: "a name of its own for each issuer but one" },
  ];
  return faults.find(({ at }) => at >= 0);
}
