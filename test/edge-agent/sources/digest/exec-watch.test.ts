import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseExecOpens } from "../../../../src/edge-agent/sources/process/digest/exec-watch.ts";

function eventOf(fd: number, pid: number): Buffer {
  const bytes = Buffer.alloc(24);
  bytes.writeUInt32LE(24, 0);
  bytes[4] = 3;
  bytes.writeUInt16LE(24, 6);
  bytes.writeUInt32LE(0x1000, 8);
  bytes.writeInt32LE(fd, 16);
  bytes.writeInt32LE(pid, 20);
  return bytes;
}

describe("reports of fanotify in descriptor mode", () => {
  it("have a descriptor and a process each; an overflow has none", () => {
    const bytes = Buffer.concat([eventOf(30, 7), eventOf(-1, 0), eventOf(31, 8)]);
    expect(parseExecOpens(bytes, bytes.length)).toEqual({
      opens: [{ fd: 30, pid: 7 }, { fd: 31, pid: 8 }],
      lost: 1,
    });
  });

  it("are refused in a layout that is not known", () => {
    const other = eventOf(3, 1);
    other[4] = 4;
    expect(() => parseExecOpens(other, 24)).toThrow("Cannot read a fanotify event: version 4");
    const long = eventOf(3, 1);
    long.writeUInt32LE(25, 0);
    expect(() => parseExecOpens(long, 24)).toThrow(RangeError);
  });

  it("never run on or out of the buffer, whatever they are", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, isVersioned) => {
      const buffer = Buffer.from(bytes);
      if (isVersioned && buffer.length > 8) {
        buffer[4] = 3;
        buffer.writeUInt32LE(24 + (buffer[0] ?? 0) % 4, 0);
      }
      try {
        const { opens, lost } = parseExecOpens(buffer, buffer.length);
        expect(opens.length + lost).toBeLessThanOrEqual(buffer.length / 24);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
      }
    }));
  });
});
