/** Records of the kernel's audit, as a socket gives them: the kernel's part, and what a program said. */

export interface WrittenAudit {
  readonly type: number;
  readonly said: string;
  readonly second?: number;
  readonly pid?: number;
  readonly uid?: number;
  readonly auid?: number;
  readonly ses?: number;
  /** As kernels with a security module write it. */
  readonly subject?: string;
}

export const UNSET = 4_294_967_295;
export const AUDIT_START_S = 1_772_100_000;

export function auditMessage(record: WrittenAudit): Buffer {
  const { type, said, second = 0, pid = 4242, uid = 0, auid = 1001, ses = 7, subject } = record;
  const of = subject === undefined ? "" : ` subj=${subject}`;
  const text = `audit(${AUDIT_START_S + second}.123:42): pid=${pid} uid=${uid} auid=${auid} ` +
    `ses=${ses}${of} msg='${said}'`;
  const bytes = Buffer.alloc(16 + text.length);
  bytes.writeUInt32LE(text.length);
  bytes.writeUInt16LE(type, 4);
  bytes.write(text, 16, "latin1");
  return bytes;
}
