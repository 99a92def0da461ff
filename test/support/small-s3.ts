/**
 * A server in this process that speaks just enough S3 to misbehave: it ignores or refuses conditions, loses answers, or
 * answers with errors, before or after it has done what it was asked. What a right one does is tested with a real one.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";

export interface S3Request {
  /** `PUT`, or for requests of an upload in parts `create`, `part`, `complete`, `abort`. */
  readonly kind: string;
  readonly key: string;
  readonly headers: IncomingMessage["headers"];
  readonly bytes: number;
}

/** What goes wrong with a request: the connection ends, or an error is answered, before or after it was done. */
export interface S3Fault {
  readonly when: "before" | "after";
  /** Without it the connection ends without an answer. */
  readonly answer?: { readonly status: number; readonly code: string };
}

export interface SmallS3Options {
  /** Conditions of `PUT`. */
  readonly put?: "kept" | "ignored" | "refused";
  /** Etags that If-Match takes, if it looks at them. */
  readonly etags?: "any" | "bare" | "quoted";
  readonly match?: "kept" | "ignored";
  /** The condition when parts are put together. */
  readonly complete?: "kept" | "ignored";
  /** Keys of a listing, in the order it gives them. */
  readonly listing?: readonly string[];
  readonly fault?: (request: S3Request, requests: readonly S3Request[]) => S3Fault | undefined;
  /** Parts of a file are answered only once so many of them are on their way, and a while after. */
  readonly holdParts?: number;
}

export interface SmallS3 extends AsyncDisposable {
  readonly endpoint: string;
  readonly objects: Map<string, Uint8Array>;
  /** Every request so far, the faulty ones too. */
  readonly requests: readonly S3Request[];
  /** Most parts that were on their way at the same time. */
  readonly partsAtOnce: () => number;
  /** Uploads in parts that are neither complete nor given up. */
  readonly uploads: ReadonlyMap<string, readonly Uint8Array[]>;
}

interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/** Parts of a trial upload are no longer than this. */
const TRIAL_BYTES_MAX = 1_000;
/** So long parts are held at most. */
const HOLD_LIMIT_MS = 5_000;
/** Time for a part that should not come to come. */
const LATE_PART_MS = 100;

export async function openSmallS3(options: SmallS3Options = {}): Promise<SmallS3> {
  const objects = new Map<string, Uint8Array>();
  const uploads = new Map<string, Uint8Array[]>();
  const requests: S3Request[] = [];
  const state = { objects, uploads, options };
  let parts = 0;
  let partsMost = 0;
  const released = Promise.withResolvers<void>();
  if (options.holdParts === undefined) released.resolve();
  const serve = async (message: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(message.url ?? "/", "http://localhost");
    const body = Buffer.concat(await Array.fromAsync(message));
    const request: S3Request = {
      kind: kindOf(message.method ?? "", url),
      key: decodeURIComponent(url.pathname).split("/").slice(2).join("/"),
      headers: message.headers,
      bytes: body.length,
    };
    requests.push(request);
    if (request.kind === "part" && body.length > TRIAL_BYTES_MAX) {
      partsMost = Math.max(partsMost, ++parts);
      if (parts >= (options.holdParts ?? 0)) released.resolve();
      await Promise.race([released.promise, delay(HOLD_LIMIT_MS)]);
      if (options.holdParts !== undefined) await delay(LATE_PART_MS);
      parts -= 1;
    }
    const fault = options.fault?.(request, requests);
    const answer = fault?.when === "before" ? undefined : answerTo(state, { request, url, body });
    if (fault !== undefined && fault.answer === undefined) return void message.socket.destroy();
    const given = fault?.answer === undefined ? answer : errorAnswer(fault.answer);
    response.writeHead(given?.status ?? 500, { ...given?.headers });
    response.end(request.kind === "HEAD" ? undefined : given?.body);
  };
  const server = createServer((message, response) => {
    serve(message, response).catch((error: unknown) => {
      response.writeHead(500);
      response.end(String(error));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    objects,
    requests,
    uploads,
    partsAtOnce: () => partsMost,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

function kindOf(method: string, url: URL): string {
  const { searchParams } = url;
  if (searchParams.has("list-type")) return "list";
  if (searchParams.has("uploads")) return "create";
  if (!searchParams.has("uploadId")) return method;
  if (method === "DELETE") return "abort";
  return method === "PUT" ? "part" : "complete";
}

interface State {
  readonly objects: Map<string, Uint8Array>;
  readonly uploads: Map<string, Uint8Array[]>;
  readonly options: SmallS3Options;
}

interface Received {
  readonly request: S3Request;
  readonly url: URL;
  readonly body: Uint8Array;
}

function answerTo(state: State, received: Received): Answer {
  const { objects, uploads } = state;
  const { request, url, body } = received;
  const { key } = request;
  const found = objects.get(key);
  const upload = url.searchParams.get("uploadId") ?? "";
  switch (request.kind) {
    case "GET":
    case "HEAD":
      if (found === undefined) return errorAnswer({ status: 404, code: "NoSuchKey" });
      return {
        status: 200,
        headers: {
          ETag: etagOf(found),
          "Content-Length": String(found.length),
          "Last-Modified": new Date().toUTCString(),
        },
        body: found,
      };
    case "PUT":
      return conditionFault(state, request) ?? store(state, key, body);
    case "DELETE":
      objects.delete(key);
      return { status: 204 };
    case "create": {
      const id = `upload-${uploads.size + 1}`;
      uploads.set(id, []);
      const inner = `<Key>${key}</Key><UploadId>${id}</UploadId>`;
      return xml(`<InitiateMultipartUploadResult>${inner}</InitiateMultipartUploadResult>`);
    }
    case "part": {
      const parts = uploads.get(upload);
      if (parts !== undefined) parts[Number(url.searchParams.get("partNumber")) - 1] = body;
      return { status: 200, headers: { ETag: etagOf(body) } };
    }
    case "complete": {
      const parts = uploads.get(upload);
      if (parts === undefined) return errorAnswer({ status: 404, code: "NoSuchUpload" });
      if (found !== undefined && state.options.complete !== "ignored") return REFUSED;
      uploads.delete(upload);
      store(state, key, Buffer.concat(parts));
      return xml(
        `<CompleteMultipartUploadResult><ETag>"x-1"</ETag></CompleteMultipartUploadResult>`,
      );
    }
    case "abort":
      uploads.delete(upload);
      return { status: 204 };
    default:
      return list(state.options.listing ?? []);
  }
}

const REFUSED = errorAnswer({ status: 412, code: "PreconditionFailed" });

function conditionFault({ objects, options }: State, request: S3Request): Answer | undefined {
  const { "if-none-match": absent, "if-match": match } = request.headers;
  if (absent === undefined && match === undefined) return undefined;
  if (options.put === "ignored") return undefined;
  if (options.put === "refused") return errorAnswer({ status: 501, code: "NotImplemented" });
  const found = objects.get(request.key);
  if (absent === "*") return found === undefined ? undefined : REFUSED;
  if (found === undefined) return errorAnswer({ status: 404, code: "NoSuchKey" });
  if (options.match === "ignored") return undefined;
  const etag = etagOf(found);
  const bare = etag.slice(1, -1);
  const taken = options.etags === "bare" ? [bare] : [etag];
  if ((options.etags ?? "any") === "any") taken.push(bare);
  return taken.includes(match ?? "") ? undefined : REFUSED;
}

function store({ objects }: State, key: string, body: Uint8Array): Answer {
  objects.set(key, body);
  return { status: 200, headers: { ETag: etagOf(body) } };
}

function list(keys: readonly string[]): Answer {
  const entries = keys.map((key) =>
    `<Contents><Key>${key}</Key><Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>`
  );
  return xml(
    `<ListBucketResult><IsTruncated>false</IsTruncated>${entries.join("")}</ListBucketResult>`,
  );
}

function etagOf(body: Uint8Array): string {
  return `"${createHash("md5").update(body).digest("hex")}"`;
}

function errorAnswer({ status, code }: { readonly status: number; readonly code: string }): Answer {
  return { ...xml(`<Error><Code>${code}</Code><Message>as asked</Message></Error>`), status };
}

function xml(body: string): Answer {
  return { status: 200, headers: { "Content-Type": "application/xml" }, body };
}
