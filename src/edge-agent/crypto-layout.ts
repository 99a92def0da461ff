/**
 * Where the fields of records of probes in user space lie, in bytes, and of what their programs are told: the decoder's
 * side of bpf/crypto-records.h. A test compares it with the layout that the compiler gives.
 */

/** `PROBITY_CRYPTO_SITES`: places of probes that can be attached at the same time. */
export const SITES_MAX = 4096;
/** Of one probe. */
export const ARGUMENTS_MAX = 4;

/** `enum probity_probe`, by the names that the probes have in a library. */
export const PROBE = {
  new_context: 1,
  word_data: 2,
  string_data: 3,
  blob_data: 4,
  data: 5,
  new_context_with_data: 6,
} as const;
export type ProbeName = keyof typeof PROBE;

/** `enum probity_datum`. */
export const DATUM = { word: 0, string: 1, blob: 2 } as const;
/** `enum probity_operand_kind`. */
export const OPERAND_KIND = { constant: 0, register: 1, memory: 2, indexed: 3 } as const;
/** `enum probity_crypto_mark`. */
export const CRYPTO_MARK = { keyCut: 1, valueCut: 2, dataCut: 4 } as const;

export const OPERAND = {
  value: 0,
  place: 8,
  index: 10,
  kind: 12,
  scale: 13,
  size: 14,
  is_signed: 15,
} as const;
export const OPERAND_BYTES = 16;

export const SITE = { probe: 0, file: 4, group: 8, arguments: 16 } as const;
export const SITE_BYTES = 80;

export const CRYPTO = {
  context: 104,
  parent: 112,
  word: 120,
  file: 128,
  key_length: 132,
  value_length: 134,
  type: 136,
  marks: 137,
  place: 138,
  count: 139,
} as const;
/** Key and value follow. */
export const CRYPTO_BYTES = 144;

export const MAPPED = { inode: 104, size: 112, device: 120, generation: 124 } as const;
export const MAPPED_BYTES = 128;
