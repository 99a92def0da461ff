/**
 * Addresses as text: IPv4 in dotted form, IPv6 as RFC 5952 writes it, IPv4-mapped IPv6 as the IPv4 address it is, so
 * that one host is found under one name.
 */

export function ipv4Text(bytes: Uint8Array, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

export function ipv6Text(bytes: Uint8Array, at: number): string {
  if (isMapped(bytes, at)) return ipv4Text(bytes, at + 12);
  const groups = Array.from(
    { length: 8 },
    (_, place) => (bytes[at + 2 * place] ?? 0) * 256 + (bytes[at + 2 * place + 1] ?? 0),
  );
  const zeros = longestZeros(groups);
  const text = (part: readonly number[]): string =>
    part.map((group) => group.toString(16)).join(":");
  if (zeros.length < 2) return text(groups);
  const after = zeros.from + zeros.length;
  return `${text(groups.slice(0, zeros.from))}::${text(groups.slice(after))}`;
}

function isMapped(bytes: Uint8Array, at: number): boolean {
  for (let place = 0; place < 10; place += 1) if (bytes[at + place] !== 0) return false;
  return bytes[at + 10] === 0xff && bytes[at + 11] === 0xff;
}

/** The first of the longest runs of zero groups. */
function longestZeros(groups: readonly number[]): { from: number; length: number } {
  let best = { from: 0, length: 0 };
  let length = 0;
  for (const [place, group] of groups.entries()) {
    length = group === 0 ? length + 1 : 0;
    if (length > best.length) best = { from: place + 1 - length, length };
  }
  return best;
}
