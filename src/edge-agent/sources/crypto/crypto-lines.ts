/**
 * Lines of what libraries tell by probes: one for each context and each datum, below `crypto/`.
 *
 * Invariants: what a record says is given back from its line by `recordOf` (src/event/crypto/record.ts), but for bytes
 * that are no text; a mapping becomes no line, it is told to whoever looks for libraries.
 */
import { type CryptoFact, cryptoFields } from "../../../event/crypto/record.ts";
import {
  CRYPTO,
  CRYPTO_BYTES,
  CRYPTO_MARK,
  DATUM,
  MAPPED,
  MAPPED_BYTES,
} from "../../crypto-layout.ts";
import { deviceText, kindOf, u16, u32, u64, u64Text, WORD } from "../../decode-record.ts";
import type {
  DecoderContext,
  FurtherLine,
  LineDecoder,
  LocatedRecord,
} from "../../line-decoder.ts";
import { HEADER, KIND } from "../../record-layout.ts";
import type { SourceLoss } from "../../source.ts";
import type { ActorText } from "../../process-table.ts";
import type { ContextIds } from "./context-ids.ts";
import {
  createLineTemplate,
  type DatumPlace,
  isOfWord,
  libraryOf,
  type LineTemplate,
  originOf,
} from "./line-templates.ts";

/** A file was mapped to be executed, or executed. */
export interface MappedFile {
  readonly pid: number;
  /** `major:minor` of the superblock. */
  readonly device: string;
  readonly inode: number;
  readonly generation: number;
  readonly sizeBytes: number;
  readonly timeUs: number;
}

/** What is known of a file by its number. */
export interface TellingFile {
  readonly path: string;
  /** Hex; empty when there is none. */
  readonly origin: string;
}

export interface CryptoDecoderOptions {
  readonly ids: ContextIds;
  readonly fileOf: (number: number) => TellingFile | undefined;
  readonly onMapped: (file: MappedFile) => void;
  readonly further: () => readonly FurtherLine[];
  readonly losses: () => readonly SourceLoss[];
}

export function createCryptoDecoder(
  context: DecoderContext,
  options: CryptoDecoderOptions,
): LineDecoder {
  const withTemplates = { ...options, templates: new Map<string, KeptTemplate>() };
  return {
    learn: () => undefined,
    line(record) {
      const { memory, offset, length } = record;
      switch (kindOf(memory, offset, length)) {
        case KIND.cryptoContext:
        case KIND.cryptoDatum:
          return cryptoLine(context, record, withTemplates);
        case KIND.cryptoMapped:
          if (length !== MAPPED_BYTES) return undefined;
          options.onMapped(mappedFile(record));
          return "";
        default:
          return undefined;
      }
    },
    further: options.further,
    losses: options.losses,
  };
}

function mappedFile({ memory: { words }, offset, timeUs }: LocatedRecord): MappedFile {
  return {
    pid: u32(words, offset + HEADER.pid),
    device: deviceText(u32(words, offset + MAPPED.device)),
    inode: u64(words, offset + MAPPED.inode),
    generation: u32(words, offset + MAPPED.generation),
    sizeBytes: u64(words, offset + MAPPED.size),
    timeUs,
  };
}

/** Templates that are kept, and the longest text that one is kept of, in bytes. */
const TEMPLATES_MAX = 1024;
const TEMPLATE_TEXT_BYTES_MAX = 256;

/** Undefined: none can be made. `by word`: each word has its own. */
type KeptTemplate = LineTemplate | "by word" | undefined;
type Templates = Map<string, KeptTemplate>;

function cryptoLine(
  context: DecoderContext,
  record: LocatedRecord,
  options: CryptoDecoderOptions & { readonly templates: Templates },
): string | undefined {
  const { memory, offset, length } = record;
  const { words, bytes } = memory;
  if (length < CRYPTO_BYTES) return undefined;
  const keyEnd = CRYPTO_BYTES + u16(words, offset + CRYPTO.key_length);
  if (keyEnd + u16(words, offset + CRYPTO.value_length) !== length) return undefined;
  const actor = context.actors.of(memory, offset);
  const isUsual = bytes[offset + CRYPTO.marks] === 0 &&
    bytes[offset + CRYPTO.type] !== DATUM.blob && actor.escaped.length === 0 &&
    length <= CRYPTO_BYTES + TEMPLATE_TEXT_BYTES_MAX && isSafeWord(words, offset + CRYPTO.word);
  const template = isUsual ? templateOf(context, record, options) : undefined;
  if (template === undefined) return wholeLine(context, record, { ...options, actor });
  const { ids } = options;
  const tid = u32(words, offset + HEADER.tid);
  const thread = { tid, pid: u32(words, offset + HEADER.pid) };
  const isContext = bytes[offset + HEADER.kind] === KIND.cryptoContext;
  return template({
    time: context.timeText(record.timeUs),
    columns: actor.columns,
    context: ids.idOf(thread, numberAt(words, offset + CRYPTO.context)),
    parent: isContext ? ids.idOf(thread, numberAt(words, offset + CRYPTO.parent)) : "",
    word: String(safeWord(words, offset + CRYPTO.word)),
    sinceBootNs: u64Text(words, offset + HEADER.time_ns),
    tid,
  });
}

/** Undefined when the record is to be told from nothing. */
function templateOf(
  context: DecoderContext,
  record: LocatedRecord,
  { ids, fileOf, templates }: CryptoDecoderOptions & {
    readonly templates: Templates;
  },
): LineTemplate | undefined {
  const { memory: { words, bytes }, offset, length } = record;
  const file = u32(words, offset + CRYPTO.file);
  const from = offset + CRYPTO_BYTES;
  // Place and count are beside type and marks.
  const shape = u32(words, offset + CRYPTO.type);
  const name = `${bytes[offset + HEADER.kind]} ${shape} ${file} ${
    u16(words, offset + CRYPTO.key_length)
  } ${bytes.toString("latin1", from, offset + length)}`;
  const ofWord = (): string => `${name} ${safeWord(words, offset + CRYPTO.word)}`;
  const place = templates.get(name) === "by word" ? ofWord() : name;
  const kept = templates.get(place);
  if (kept !== "by word" && templates.has(place)) return kept;
  context.text.isEscaped = false;
  const fact = factOf(context, record, ids);
  const template = fact === undefined || context.text.isEscaped
    ? undefined
    : createLineTemplate(fact, fileOf(file), placeOf(bytes, offset));
  if (templates.size >= TEMPLATES_MAX) templates.clear();
  const isOne = fact !== undefined && template !== undefined && isOfWord(fact);
  if (isOne) templates.set(name, "by word");
  templates.set(isOne ? ofWord() : name, template);
  return template;
}

/** Numbers that a line has as numbers: up to 2^53. */
function isSafeWord(words: Uint32Array, at: number): boolean {
  const high = u32(words, at + 4) | 0;
  return high >= -0x20_0000 && high < 0x20_0000 && Number.isSafeInteger(safeWord(words, at));
}

function safeWord(words: Uint32Array, at: number): number {
  return (u32(words, at + 4) | 0) * WORD + u32(words, at);
}

function wholeLine(
  context: DecoderContext,
  record: LocatedRecord,
  { ids, fileOf, actor }: CryptoDecoderOptions & { readonly actor: ActorText },
): string | undefined {
  const { memory: { words, bytes }, offset, timeUs } = record;
  context.text.isEscaped = false;
  const fact = factOf(context, record, ids);
  if (fact === undefined) return undefined;
  const escaped = context.text.isEscaped ? [...actor.escaped, "detail"] : actor.escaped;
  const thread = threadOf(record);
  const file = fileOf(u32(words, offset + CRYPTO.file));
  const { topic, severity, ...fields } = cryptoFields({
    context: ids.idOf(thread, numberAt(words, offset + CRYPTO.context)),
    sinceBootNs: BigInt(u64Text(words, offset + HEADER.time_ns)),
    fact,
  }, {
    ...originOf(file),
    more: {
      ...libraryOf(file),
      tid: thread.tid,
      ...cutOf(record),
      ...placeOf(bytes, offset),
      ...(escaped.length === 0 ? {} : { escaped }),
    },
  });
  return `"time":"${context.timeText(timeUs)}","topic":${JSON.stringify(topic)},` +
    `"severity":"${severity}",${actor.columns}${JSON.stringify(fields).slice(1)}`;
}

function factOf(
  { text }: DecoderContext,
  record: LocatedRecord,
  ids: ContextIds,
): CryptoFact | undefined {
  const { memory: { words, bytes }, memory, offset, length } = record;
  if (kindOf(memory, offset, length) === KIND.cryptoContext) {
    return {
      kind: "context",
      parent: ids.idOf(threadOf(record), numberAt(words, offset + CRYPTO.parent)),
    };
  }
  const from = offset + CRYPTO_BYTES;
  const keyEnd = from + u16(words, offset + CRYPTO.key_length);
  const key = text.text(bytes, from, keyEnd);
  switch (bytes[offset + CRYPTO.type]) {
    case DATUM.word: {
      const { low, high } = numberAt(words, offset + CRYPTO.word);
      const value = BigInt.asIntN(64, BigInt(high) << 32n | BigInt(low));
      return { kind: "data", key, datum: { type: "word", value } };
    }
    case DATUM.string:
      return {
        kind: "data",
        key,
        datum: { type: "string", value: text.text(bytes, keyEnd, offset + length) },
      };
    case DATUM.blob:
      return {
        kind: "data",
        key,
        datum: { type: "blob", value: bytes.subarray(keyEnd, offset + length) },
      };
    default:
      return undefined;
  }
}

/** What of the record is not whole; of a blob also how many bytes it has. */
function cutOf(
  { memory: { words, bytes }, offset }: LocatedRecord,
): Readonly<Record<string, unknown>> {
  const marks = bytes[offset + CRYPTO.marks] ?? 0;
  if (marks === 0) return {};
  const isBlobCut = (marks & CRYPTO_MARK.valueCut) !== 0 &&
    bytes[offset + CRYPTO.type] === DATUM.blob;
  return {
    truncated: true,
    ...((marks & CRYPTO_MARK.keyCut) === 0 ? {} : { key_truncated: true }),
    ...((marks & CRYPTO_MARK.dataCut) === 0 ? {} : { data_truncated: true }),
    ...(isBlobCut ? { value_bytes: u64(words, offset + CRYPTO.word) } : {}),
  };
}

function placeOf(bytes: Buffer, offset: number): DatumPlace | undefined {
  const count = bytes[offset + CRYPTO.count] ?? 0;
  return count <= 1 ? undefined : { place: bytes[offset + CRYPTO.place] ?? 0, count };
}

function threadOf({ memory: { words }, offset }: LocatedRecord) {
  return { tid: u32(words, offset + HEADER.tid), pid: u32(words, offset + HEADER.pid) };
}

function numberAt(words: Uint32Array, at: number) {
  return { low: u32(words, at), high: u32(words, at + 4) };
}
