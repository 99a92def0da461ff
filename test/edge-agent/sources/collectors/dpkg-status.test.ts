import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  PackageDatabaseError,
} from "../../../../src/edge-agent/sources/collectors/packages/installed.ts";
import {
  parseDpkgStatus,
} from "../../../../src/edge-agent/sources/collectors/packages/dpkg-status.ts";
import { createSeededRandom } from "../../../support/seeded-random.ts";

const STANZAS = [
  "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2.15-2+b2\n" +
  "Conffiles:\n /etc/bash.bashrc 89269e1298235f1b12b4c16e4065ad0d\nDescription: shell\n more\n .\n",
  "Package: gone\nStatus: deinstall ok config-files\nPriority: optional\nVersion: 1:2.0~rc1-1\n" +
  "Architecture: all\n",
  "Package: libc6\nStatus: hold ok half-configured\nArchitecture: i386\nVersion: 2.36-9\n",
  "Package: torn\nStatus: install reinstreq half-installed\nArchitecture: amd64\nVersion: 3\n",
  "Package: asked\nStatus: unknown ok not-installed\n",
] as const;

describe("dpkg's status file", () => {
  it("gives what is there, and what nobody can say", () => {
    const { installed, undecided } = parseDpkgStatus(`${STANZAS.join("\n")}\n`);
    expect(Object.fromEntries(installed)).toEqual({
      "bash:amd64": "5.2.15-2+b2",
      "libc6:i386": "2.36-9",
    });
    expect([...undecided]).toEqual(["torn:amd64"]);
    expect(parseDpkgStatus("").installed.size).toBe(0);
  });

  /** Every fault that there is, with what makes it. */
  const faults: readonly (readonly [reason: string, text: string])[] = [
    ["its end is missing", STANZAS[0].slice(0, -1)],
    ["nothing comes before what goes on", ` x\n${STANZAS[0]}`],
    ['field "version" has more than one line', STANZAS[2].replace("2.36-9\n", "2.36-9\n 1\n")],
    ["there is no field", STANZAS[0].replace("Status: ", "Status ")],
    ['field "version" is there twice', `${STANZAS[2]}Version: 1\n`],
    ["there are too many fields", STANZAS[2] + fieldsOf(1001)],
    ["there is no name of a package", STANZAS[0].replace("Package: bash", "Package: -")],
    ['package "bash" has no status', STANZAS[0].replace("ok installed", "ok")],
    ['package "bash" has no version', STANZAS[0].replace("5.2.15-2+b2", "")],
    ['package "bash" has no architecture', STANZAS[0].replace("amd64", "AMD 64")],
    ['package "bash:amd64" is there twice', `${STANZAS[0]}\n${STANZAS[0]}`],
  ];

  it.each(faults)("is refused: %s", (reason, text) => {
    expect(() => parseDpkgStatus(text)).toThrow(PackageDatabaseError);
    expect(() => parseDpkgStatus(text)).toThrow(reason);
  });

  it("takes 100,000 mutated files without another error, and meets every fault", () => {
    const seed = Date.now() % 2 ** 32;
    const random = createSeededRandom(seed);
    const reasons = new Set<string>();
    let read = 0;
    for (let round = 0; round < 100_000; round += 1) {
      const text = mutated(random);
      try {
        read += parseDpkgStatus(text).installed.size > 0 ? 1 : 0;
      } catch (error) {
        if (!(error instanceof PackageDatabaseError)) {
          throw new Error(`seed ${seed}, round ${round}: ${JSON.stringify(text)}`, {
            cause: error,
          });
        }
        reasons.add(kindOf(error.message));
      }
    }
    expect(read, `seed ${seed}`).toBeGreaterThan(10_000);
    const met = faults.map(([reason]) => kindOf(`: ${reason}`));
    // More fields than that come of no small change.
    const wanted = new Set(met.filter((reason) => !reason.includes("too many")));
    expect([...wanted].filter((reason) => !reasons.has(reason)), `seed ${seed}`).toEqual([]);
  });

  it("of this host, if it has one, is read in a moment", () => {
    const text = readIfThere("/var/lib/dpkg/status");
    const { installed } = parseDpkgStatus(text);
    expect(installed.size > 0).toBe(text !== "");
  });
});

function fieldsOf(count: number): string {
  return Array.from({ length: count }, (_, at) => `X${at}: 1\n`).join("");
}

/** A reason without the names that are in it. */
function kindOf(message: string): string {
  return message.slice(message.lastIndexOf(": ") + 2).replaceAll(/"[^"]*"/g, '""');
}

type Random = ReturnType<typeof createSeededRandom>;

/** Some stanzas, with up to three changes of lines, fields, values, places or bytes. */
function mutated(random: Random): string {
  const stanzas = Array.from({ length: random.between(1, 3) }, () => random.pick(STANZAS));
  let lines = stanzas.join("\n").split("\n");
  for (let left = random.between(0, 3); left > 0; left -= 1) {
    const at = random.between(0, lines.length - 1);
    const line = lines[at] ?? "";
    const change = random.pick([
      () => lines.toSpliced(at, 1),
      () => lines.toSpliced(at, 0, line),
      () => lines.toSpliced(at, 0, random.pick(["", " x", "\t", "#", "X: 1", ":", "a\0b: c"])),
      () =>
        lines.with(at, line.replace(/: .*/, random.pick([": ", ":", " ", ": \xff", ": a b c d"]))),
      () => lines.with(at, line.slice(0, random.between(0, line.length))),
      () => lines.with(at, line.slice(random.between(0, line.length))),
      () => lines.with(at, lines[random.between(0, lines.length - 1)] ?? ""),
    ]);
    lines = change();
  }
  const text = lines.join("\n");
  return random.between(0, 9) === 0 ? text.slice(0, random.between(0, text.length)) : text;
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch (error) {
    if (error instanceof Error && "code" in error) return "";
    throw error;
  }
}
