/**
 * A KMS for tests: the server's side of the protocol, as strict as the state of a connection demands, over a real
 * WebSocket. It keeps the keys that it gives, and checks every signature that it gets, of rows too.
 */
import {
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  randomUUID,
  verify,
} from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { createCmac } from "../../src/edge-agent/sources/applications/kms/signatures.ts";

export interface KmsRow {
  readonly keyId: string;
  readonly sequence: number;
  readonly message: string;
  readonly timestamp: string;
}

export interface InquiryAnswer {
  /** Messages in the order in which their batches and rows came. */
  readonly rows: readonly KmsRow[];
  readonly total: number;
  /** What is wrong with a batch or a row; empty when all signatures hold. */
  readonly faults: readonly string[];
}

export interface TestKms extends AsyncDisposable {
  readonly url: string;
  /** Names of services, one for each registration. */
  readonly registered: string[];
  /** Ids of batches that were confirmed, in order. */
  readonly batches: string[];
  /** Payloads of pings. */
  readonly pings: string[];
  /** What came that the state of its connection does not allow. */
  readonly violations: string[];
  /** Answers that the relay gave to health checks, and errors. */
  readonly answers: unknown[];
  /** What happens to the next batches: refused with an error, kept without an answer, or taken. */
  readonly nextBatches: ("refuse" | "silence")[];
  /** What happens to the next registrations. */
  readonly nextRegistrations: ("refuse" | "odd")[];
  inquire(fromMs: number, toMs: number): Promise<InquiryAnswer>;
  checkHealth(): Promise<unknown>;
  /** Sends a text as it is. */
  say(text: string | Buffer): void;
  /** Ends all connections with a code; 1006 cuts them. */
  end(code: number): void;
}

interface Registration {
  readonly id: string;
  readonly publicKey: KeyObject;
  readonly rowKey: Buffer;
}

type Handler = (params: Record<string, unknown>) => unknown;

export async function openTestKms(port = 0): Promise<TestKms> {
  const server = new WebSocketServer({ port, host: "127.0.0.1", path: "/sidecar" });
  await once(server, "listening");
  const kms = new Kms(server);
  server.on("connection", (socket) => kms.serve(socket));
  return kms;
}

class Kms implements TestKms {
  readonly url: string;
  readonly registered: string[] = [];
  readonly batches: string[] = [];
  readonly pings: string[] = [];
  readonly violations: string[] = [];
  readonly answers: unknown[] = [];
  readonly nextBatches: ("refuse" | "silence")[] = [];
  readonly nextRegistrations: ("refuse" | "odd")[] = [];
  readonly #server: WebSocketServer;
  readonly #keys = new Map<string, Registration>();
  readonly #signatures = new Map<string, { registration: Registration; signature: string }>();
  readonly #inquiries = new Map<string, (params: Record<string, unknown>) => void>();
  readonly #checks = new Map<string, (result: unknown) => void>();
  #current: WebSocket | undefined;

  constructor(server: WebSocketServer) {
    this.#server = server;
    // as: a server on a port has an address of this form
    this.url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/sidecar`;
  }

  serve(socket: WebSocket): void {
    const handlers = this.#handlersOf(socket);
    socket.on("ping", (data: Buffer) => this.pings.push(data.toString()));
    socket.on("message", (data: Buffer) => {
      const message = JSON.parse(data.toString());
      if (message.method === undefined) return this.#answered(message);
      const handler = handlers[message.method];
      if (handler === undefined || typeof message.id !== "string") {
        this.violations.push(data.toString());
        return;
      }
      const answer = handler(message.params);
      if (answer !== undefined) {
        socket.send(JSON.stringify({ jsonrpc: "2.0", id: message.id, ...Object(answer) }));
      }
    });
  }

  async inquire(fromMs: number, toMs: number): Promise<InquiryAnswer> {
    const inquiry = randomUUID();
    const rows: KmsRow[] = [];
    const faults: string[] = [];
    const done = Promise.withResolvers<number>();
    let items = 0;
    this.#inquiries.set(inquiry, (params) => {
      const total = Number(params["total"]);
      if (total > 0) this.#verify(params, { rows, faults });
      items += 1;
      if (total === 0 || items === total) done.resolve(total);
    });
    this.#ask("inquiry", randomUUID(), {
      inquiry,
      startTime: new Date(fromMs).toISOString(),
      endTime: new Date(toMs).toISOString(),
    });
    return { rows, faults, total: await done.promise };
  }

  checkHealth(): Promise<unknown> {
    const id = randomUUID();
    const answered = new Promise((resolve) => this.#checks.set(id, resolve));
    this.#ask("healthcheck", id, { level: "ping" });
    return answered;
  }

  say(text: string | Buffer): void {
    this.#current?.send(text);
  }

  end(code: number): void {
    for (const client of this.#server.clients) {
      if (code === 1006) client.terminate();
      else client.close(code);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.end(1006);
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #ask(method: string, id: string, params: object): void {
    this.say(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
  }

  #answered(message: { id: string; result?: unknown }): void {
    this.answers.push(message);
    this.#checks.get(message.id)?.(message.result);
  }

  /** What a connection may ask, from state to state. */
  #handlersOf(socket: WebSocket): Record<string, Handler | undefined> {
    const handlers: Record<string, Handler | undefined> = {};
    handlers["register"] = (params) => {
      const fate = this.nextRegistrations.shift();
      if (fate === "refuse") return { error: { code: 40001, message: "Sidecar exists" } };
      if (fate === "odd") return { result: { id: params["id"], batchKey: "00", rowKey: "00" } };
      const { registration, batchKey } = giveKeys(String(params["id"]));
      const challenge = randomUUID();
      delete handlers["register"];
      handlers["challenge"] = (proof) => {
        delete handlers["challenge"];
        if (!isProven(registration, challenge, proof)) {
          socket.close(4004);
          return { error: { code: 40004, message: "Verification failed" } };
        }
        this.#keys.set(registration.id, registration);
        this.#current = socket;
        this.registered.push(String(params["serviceName"]));
        handlers["batch"] = (batch) => this.#batch(registration, batch);
        handlers["inquiry-response"] = (part) =>
          this.#inquiries.get(String(part["inquiry"]))?.(part);
        return { result: { status: "ok" } };
      };
      const rowKey = registration.rowKey.toString("hex").toUpperCase();
      return { result: { id: registration.id, batchKey, rowKey, challenge } };
    };
    return handlers;
  }

  #batch(registration: Registration, { id, signature }: Record<string, unknown>): unknown {
    const fate = this.nextBatches.shift();
    if (fate === "refuse") return { error: { code: -32603, message: "Not now" } };
    if (this.#signatures.has(String(id))) return { error: { code: 120, message: "Duplicate" } };
    this.#signatures.set(String(id), { registration, signature: String(signature) });
    this.batches.push(String(id));
    return fate === "silence" ? undefined : { result: { id } };
  }

  #verify(params: Record<string, unknown>, into: { rows: KmsRow[]; faults: string[] }): void {
    const [id, body] = [String(params["id"]), String(params["body"])];
    const known = this.#signatures.get(id);
    if (known === undefined) into.faults.push(`batch ${id} does not exist`);
    else if (!isSigned(body, known.signature, known.registration.publicKey)) {
      into.faults.push(`batch ${id} is not what was signed`);
    }
    for (const { row, signature } of JSON.parse(body)) {
      const key = this.#keys.get(row.keyId)?.rowKey;
      const is = key && createCmac(key)(Buffer.from(JSON.stringify(row))).toString("hex");
      if (is !== signature) into.faults.push(`row ${row.sequence} of ${row.keyId}`);
      into.rows.push(row);
    }
  }
}

function giveKeys(id: string): { registration: Registration; batchKey: string } {
  const pair = generateKeyPairSync("ed25519");
  const jwk = pair.privateKey.export({ format: "jwk" });
  const seed = Buffer.from(jwk.d ?? "", "base64url");
  const point = Buffer.from(jwk.x ?? "", "base64url");
  const registration = { id, publicKey: createPublicKey(pair.privateKey), rowKey: randomBytes(32) };
  return { registration, batchKey: Buffer.concat([seed, point]).toString("hex").toUpperCase() };
}

function isProven(
  { publicKey, rowKey }: Registration,
  challenge: string,
  proof: Record<string, unknown>,
): boolean {
  const row = createCmac(rowKey)(Buffer.from(challenge)).toString("hex");
  return proof["rowSignature"] === row &&
    isSigned(challenge, String(proof["batchSignature"]), publicKey);
}

function isSigned(text: string, signature: string, key: KeyObject): boolean {
  return verify(null, Buffer.from(text), key, Buffer.from(signature, "hex"));
}
