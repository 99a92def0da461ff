/** Messages of the DNS, made field by field. */

export interface DnsRecordFields {
  /** Of the wire: labels, or a pointer. */
  readonly owner: readonly number[];
  readonly type: number;
  readonly ttlSeconds: number;
  readonly data: readonly number[];
}

export interface DnsAnswerFields {
  readonly id?: number;
  readonly flags?: number;
  readonly questions?: number;
  readonly questionClass?: number;
  readonly questionType?: number;
  /** The question's name as bytes, in place of the one that is given as text. */
  readonly question?: readonly number[];
}

/** A name as labels; `""` is the root. */
export function dnsName(name: string): number[] {
  const labels = name === "" ? [] : name.split(".");
  return [...labels.flatMap((label) => [label.length, ...Buffer.from(label, "latin1")]), 0];
}

export function dnsAnswer(
  name: string,
  records: readonly DnsRecordFields[],
  fields: DnsAnswerFields = {},
): Uint8Array {
  const { id = 1, flags = 0x8180, questions = 1, questionType = 1, questionClass = 1 } = fields;
  return Uint8Array.from([
    ...u16(id),
    ...u16(flags),
    ...u16(questions),
    ...u16(records.length),
    ...[0, 0, 0, 0],
    ...(fields.question ?? dnsName(name)),
    ...u16(questionType),
    ...u16(questionClass),
    ...records.flatMap(({ owner, type, ttlSeconds, data }) => [
      ...owner,
      ...u16(type),
      ...u16(1),
      ...u16(Math.floor(ttlSeconds / 65_536)),
      ...u16(ttlSeconds % 65_536),
      ...u16(data.length),
      ...data,
    ]),
  ]);
}

/** Records of {@link costlyAnswer}. */
export const COSTLY_RECORDS = 63;

/** An answer whose records all point to a name as long as one may be, of bytes that are written escaped. */
export function costlyAnswer(): Uint8Array {
  const label = [61, ...Array<number>(61).fill(0xff)];
  const question = [...label, ...label, ...label, ...label, 0];
  const record = { owner: [0xc0, 12], type: 1, ttlSeconds: 60, data: [10, 0, 0, 1] };
  return dnsAnswer("", Array<typeof record>(COSTLY_RECORDS).fill(record), { question });
}

function u16(value: number): number[] {
  return [value >> 8, value & 0xff];
}
