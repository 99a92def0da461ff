/**
 * Which pages of other sites may speak to the service from a browser (CORS, and the handshake of WebSockets). Without a
 * list none may; a token is needed as ever, and no cookie is looked at or allowed.
 *
 * Invariant: an origin is compared whole; nothing that a request says becomes a header of its answer unless it is on the
 * list.
 */

export interface Origins {
  /** Whether a page of this origin may open a WebSocket; `host` is that of the request. */
  mayConnect(origin: string, host: string | undefined): boolean;
  /** The answer to the question that a browser asks before a request; undefined for any other request. */
  preflight(request: Request): Response | undefined;
  /** The answer, with what lets a page on the list read it. */
  shown(answer: Response, request: Request): Response;
}

/** Headers of answers that a page may read, beside those that every page may. */
export const EXPOSED_HEADERS: readonly string[] = [
  ...["Allow", "Date", "Retry-After", "Upgrade", "WWW-Authenticate"],
  ...["Content-Security-Policy", "Referrer-Policy", "X-Content-Type-Options"],
  ...["Probity-Complete", "Probity-Missing", "Probity-Count", "Probity-Truncated"],
  ...["Probity-Scanned-Files", "Probity-Scanned-Bytes", "Probity-Pruned-Files"],
];
/** Headers of requests that it may set, beside those that every page may. */
const REQUEST_HEADERS = "Authorization, Content-Type, Last-Event-ID";
const METHODS = "GET, HEAD, POST, PUT, DELETE";
/** A browser need not ask again for so long. */
const PREFLIGHT_SECONDS = 600;
export const ORIGINS_MAX = 64;

/** Whether a text is an origin as browsers send it: `https://app.example.org`, without anything behind it. */
export function isOrigin(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url !== undefined && /^https?:$/.test(url.protocol) && url.origin === text;
}

/** Throws RangeError for what is no origin. */
export function createOrigins(list: readonly string[]): Origins {
  const wrong = list.find((each) => !isOrigin(each));
  if (wrong !== undefined || list.length > ORIGINS_MAX) {
    throw new RangeError(
      `Cannot use origins: at most ${ORIGINS_MAX} such as https://app.example.org`,
    );
  }
  const known = new Set(list);
  /** The origin of a request that is on the list. */
  const listed = ({ headers }: Request): string | undefined => {
    const origin = headers.get("origin");
    return origin !== null && known.has(origin) ? origin : undefined;
  };
  return {
    mayConnect(origin, host) {
      if (known.has(origin)) return true;
      const url = URL.canParse(origin) ? new URL(origin) : undefined;
      return url !== undefined && url.host !== "" && url.host === host?.toLowerCase();
    },
    preflight(request) {
      const origin = listed(request);
      const isAsked = request.method === "OPTIONS" &&
        request.headers.has("access-control-request-method");
      if (origin === undefined || !isAsked) return undefined;
      return new Response(null, {
        status: 204,
        headers: {
          "Access-Control-Allow-Origin": origin,
          "Access-Control-Allow-Methods": METHODS,
          "Access-Control-Allow-Headers": REQUEST_HEADERS,
          "Access-Control-Max-Age": String(PREFLIGHT_SECONDS),
          "Vary": "Origin",
        },
      });
    },
    shown(answer, request) {
      if (known.size === 0) return answer;
      const origin = listed(request);
      answer.headers.append("Vary", "Origin");
      if (origin === undefined) return answer;
      answer.headers.set("Access-Control-Allow-Origin", origin);
      answer.headers.set("Access-Control-Expose-Headers", EXPOSED_HEADERS.join(", "));
      return answer;
    },
  };
}
