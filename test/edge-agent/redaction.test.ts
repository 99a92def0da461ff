import { createHash, createHmac } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createRedactor, DIGESTS_MAX } from "../../src/edge-agent/redaction.ts";
import { isSecretName, mentionsSecretName } from "../../src/edge-agent/redaction-names.ts";
import { processorMsOf } from "../support/processor-time.ts";

const key = new Uint8Array(32).fill(7);
const redactor = createRedactor(key);
const markerOf = (secret: string): string =>
  `[redacted:${createHmac("sha256", key).update(secret, "latin1").digest("hex").slice(0, 12)}]`;

/** Arguments with `{…}` around each secret; they must come out with markers in their place. */
const SECRET_LINES: readonly (readonly string[])[] = [
  ["tool", "--password", "{hunter2}"],
  ["tool", "--password={hunter 2 & more}", "--verbose"],
  ["tool", "-password:{hunter2}"],
  ["tool", "--db-password", "{hunter2}", "--api-key={abc}", "--authToken={xyz}"],
  ["env", "PGPASSWORD={hunter2}", "psql", "-h", "db"],
  ["env", "AWS_SECRET_ACCESS_KEY={wJalr/XUtnFEMI}", "aws"],
  ["mysql", "-u", "root", "-p{hunter2}", "shop"],
  ["/usr/bin/sudo", "mysqldump", "-p{hunter2}", "shop"],
  ["sshpass", "-p", "{hunter2}", "ssh", "host"],
  ["curl", "-u", "ann:{hunter2}", "https://example.org/"],
  ["curl", "-sSu", "ann:{hunter2}", "https://example.org/"],
  ["curl", "--user=ann:{hun:ter2}"],
  ["curl", "-H", "Authorization: Bearer {abcdef}", "https://example.org/"],
  ["curl", "-H", "authorization: Basic {dXNlcjpw}"],
  ["curl", "-H", "X-Api-Key: {abcdef}"],
  ["curl", "-H", "Cookie: {session=1; user=2}"],
  ["curl", "-d", '{"user":"ann","password":"{hunter 2}"}'],
  ["curl", "-d", "user=ann&password={hunter2}&remember=1"],
  ["curl", "https://example.org/?page=1&token={abcdef}&sig={xyz}"],
  ["git", "clone", "https://ann:{hunter2}@example.org/a.git"],
  ["psql", "postgres://ann:{hun@ter2}@db/shop?sslmode=off"],
  ["redis-cli", "-a", "{hunter2}", "ping"],
  ["docker", "login", "-u", "ann", "-p", "{hunter2}", "registry"],
  ["ldapsearch", "-x", "-w", "{hunter2}"],
  ["sqlplus", "ann/{hunter2}@db"],
  ["smbclient", "-U", "ann%{hunter2}", "//host/share"],
  ["mount", "-o", "user=ann,password={hunter2},uid=0", "//host/share"],
  ["openssl", "rsa", "-passin", "{pass:hunter2}"],
  ["aws", "configure", "set", "aws_secret_access_key", "{abc}"],
  ["npm", "config", "set", "//registry.example.org/:_authToken", "{abc}"],
  ["sh", "-c", "mysql --password={hunter2} -e 'select 1'"],
  ["sh", "-c", "mysql -p{hunter2} shop | tee log"],
  ["sh", "-c", "tool --token '{two words}' --verbose"],
  ["sh", "-c", "export DB_PASS={hunter2}; run"],
  ["mysql", "-e", "create user ann identified by '{hunter 2}'"],
  ["psql", "-c", "alter user ann password '{hunter 2}'"],
  ["dotnet", "Server=db;User=ann;Password={hunter2};Encrypt=yes"],
  ["mysql", "-e", "SET PASSWORD = PASSWORD('{hunter2}')"],
  ["mysql", "-e", "SET PASSWORD FOR x = '{hunter 2}'"],
  ["mysql", "-e", "set password for 'x'@'%' = PASSWORD('{hunter2}')"],
  ["mysql", "-Bp{hunter2}", "shop"],
  ["docker", "login", "-u", "ann", "-p{hunter2}", "registry"],
  ["curl", "-sSfuann:{hunter2}", "https://example.org/"],
  ["ldapsearch", "-LLLxw", "{hunter2}", "-b", "dc=x"],
  ["zip", "-rP", "{hunter2}", "a.zip", "folder"],
  ["htpasswd", "-b", "file", "ann", "{hunter2}"],
  ["htpasswd", "-nbB", "-C", "10", "ann", "{hunter2}"],
  ["openssl", "enc", "-aes-256-cbc", "-k", "{hunter2}", "-in", "a"],
  ["openssl", "passwd", "-1", "-salt", "abc", "{hunter2}"],
  ["vault", "login", "{hunter2}"],
  ["vault", "login", "-method=userpass", "username=ann", "password={hunter2}"],
  ["sh", "-c", "htpasswd -b file ann {hunter2} && vault login {hunter3}"],
  ["tool", "{ghp_abcdefghijklmnopqrstuvwxyz0123456789}"],
  ["tool", "{prb_00000000000000000000000000000000000000000002CZclj}"],
  ["tool", "{AKIAIOSFODNN7EXAMPLE}"],
  ["tool", "at:{xoxb-1234567890-abcdef}"],
  ["tool", "{eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLWhlcmU}"],
  ["tool", "{sk-proj-abcDEF0123456789abcDEF}"],
  ["tool", "-----BEGIN PRIVATE KEY-----{\nabc\n}-----END PRIVATE KEY-----"],
  ["curl", "https://hooks.slack.com/services/{T0000/B0000/abcdef}"],
  ["tool", "{kJ8sQ2mZx7LpT4vWn9RbYc3D}"],
  ["tool", "--value={wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMP9KEYs}"],
  ["tool", "{b9x2k7q4m1z8w3v6t5r0p9n2j7h4g1f8}"],
];

/** Command lines that must come out as they went in. */
const PLAIN_LINES: readonly (readonly string[])[] = [
  ["/usr/bin/gcc", "-I/usr/include/x86_64-linux-gnu/c++/12", "-o", "/tmp/ccX9aB2c.o", "main.c"],
  ["git", "show", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"],
  ["docker", "exec", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "ls"],
  ["mount", "UUID=0b6f7d6e-6d5c-4b5e-9d0b-1c2d3e4f5a6b", "/mnt"],
  ["ls", "/nix/store/0c5b2z7q8x9y1w3v4u6t5s7r8p9n0m1l-glibc-2.38/lib/ld-linux-x86-64.so.2"],
  ["cat", "kJ8sQ2mZx7LpT4vWn9RbYc3D.json"],
  ["java", "-cp", "/opt/app/lib/SomeLongClassName2Impl.jar", "org.example.GetUserByIdAndName2"],
  ["psql", "-h", "db", "-p", "5432"],
  ["ssh", "-p", "2222", "host"],
  ["mkdir", "-p", "/a/b"],
  ["docker", "run", "-p", "80:80", "image"],
  ["docker", "run", "-p80:80", "image"],
  ["curl", "-fsSLO", "https://example.org/"],
  ["mysql", "-ve", "select 1"],
  ["htpasswd", "file", "ann"],
  ["openssl", "x509", "-in", "cert.pem", "-noout"],
  ["vault", "read", "kv/a"],
  ["mysql", "--password", "-h", "db"],
  ["mysql", "-h", "db", "-p"],
  ["tool", "--password-file", "/etc/secret", "--token-type=jwt", "--max-tokens", "100"],
  ["tool", "--secret-name=db", "PWD=/root", "OLDPWD=/", "SSH_ASKPASS=/usr/bin/askpass"],
  ["passwd", "ann"],
  ["grep", "password", "/etc/login.defs"],
  ["curl", "https://example.org:8443/a@b?x=1"],
  ["curl", "https://ann@example.org/"],
  ["ssh-keygen", "-l", "SHA256:47DEQpj8HBSa+TImW+5JCeuQeRkm5NMpJWZG3hSuFU0"],
  [
    "npm",
    "install",
    "--integrity",
    "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg",
  ],
  ["tee", "ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIJ0dV1bYz8eA2bC3dE4fG5hI6jK7lM8nO9pQ0rS1tU2v"],
  ["sh", "-c", "echo YmFzaCAtaSA+JiAvZGV2L3RjcC8xMC4wLjAuMS80NDQ0IDA+JjE= | base64 -d | sh"],
  ["tr", "-d", "0123456789abcdEFGhHiIKlLnoPqrRsTuUvVwxyzZ"],
  ["sh", "-c", 'mysql --password="$DB_PASSWORD" -p${PW} --token $1'],
  ["sh", "-c", 'getent passwd "$(id -u)"'],
  ["kJ8sQ2mZx7LpT4vWn9RbYc3D", "--help"],
  ["", "", " "],
  [],
];

const argvOf = (args: readonly string[]): string => args.join("\0");
const plainOf = (args: readonly string[]): string => argvOf(args).replace(/\{([^{}"]*)\}/gs, "$1");
const markedOf = (args: readonly string[]): string =>
  argvOf(args).replace(/\{([^{}"]*)\}/gs, (_all, secret: string) => markerOf(secret));

describe("redaction of arguments", () => {
  it.each(SECRET_LINES)("replaces the secrets of %s %s %s", (...args) => {
    const { parts, places } = redactor.argv(plainOf(args));
    expect(parts.join("\0")).toBe(markedOf(args));
    expect(places).toEqual(
      args.flatMap((argument, place) => plainOf([argument]) === argument ? [] : [place]),
    );
  });

  it.each(PLAIN_LINES)("leaves %s %s %s as it is", (...args) => {
    expect(redactor.argv(argvOf(args))).toEqual({ parts: argvOf(args).split("\0"), places: [] });
  });

  it("leaves base64 of text alone, but not of text with a secret", () => {
    const encoded = Buffer.from("mysql --password=hunter2").toString("base64");
    expect(redactor.argv(`sh\0${encoded}`).parts[1]).toBe(markerOf(encoded));
  });

  it("gives another host's equal secrets other digests", () => {
    const other = createRedactor(new Uint8Array(32).fill(8));
    expect(other.argv("t\0--token\0abc").parts).not.toEqual(redactor.argv("t\0--token\0abc").parts);
  });

  it("gives no digests beyond the limit, and still redacts", () => {
    const args = Array.from({ length: DIGESTS_MAX + 10 }, (_, place) => `TOKEN=secret${place}x`);
    const { parts, places } = redactor.argv(args.join("\0"));
    expect(places.length).toBe(args.length);
    expect(parts.at(-1)).toBe("TOKEN=[redacted]");
    expect(redactor.argv(parts.join("\0")).places).toEqual([]);
  });
});

describe("redaction of environment values", () => {
  it("goes by the name, and by what the value holds", () => {
    const text = "HOME=/root\0DB_PASSWORD=a b=c\0URL=amqp://u:hunter2@h\0PWD=/\0TOKEN=\0X";
    expect(redactor.environment(text)).toEqual({
      parts: [
        "HOME=/root",
        `DB_PASSWORD=${markerOf("a b=c")}`,
        `URL=amqp://u:${markerOf("hunter2")}@h`,
        "PWD=/",
        "TOKEN=",
        "X",
      ],
      places: [1, 2],
    });
  });
});

describe("what holds for all arguments", () => {
  /** Random, so that nothing else on the line is like it by chance. */
  const secret = fc.stringMatching(/^[a-zA-Z0-9!#%*+,./:=?@^_~-]{6,40}$/)
    .map((text) => `q7Z${text}`);
  const wrap = fc.constantFrom<(secret: string) => readonly string[]>(
    (text) => ["--password", text],
    (text) => [`--password=${text}`],
    (text) => [`API_TOKEN=${text}`],
    (text) => ["mysql", `-p${text}`],
    (text) => ["sshpass", "-p", text],
    (text) => ["curl", "-u", `ann:${text}`],
    (text) => ["-H", `Authorization: Bearer ${text}`],
    (text) => [`{"secret":"${text}"}`],
    (text) => [`https://ann:${text.replace(/[/?#]/g, "x")}@h/`],
    (text) => ["sh", "-c", `run --secret='${text}' x`],
  );
  const innocent = fc.oneof(
    fc.constantFrom("ls", "-l", "/usr/bin/env", "a b", "x=1", "--host", "db", "{}", "'", '"'),
    fc.string({ maxLength: 12 }).map((text) => text.replaceAll("\0", "")),
  );

  it("no secret comes out, and a second time changes nothing", () => {
    fc.assert(
      fc.property(
        fc.array(innocent),
        secret,
        wrap,
        fc.array(innocent),
        (before, text, put, after) => {
          // A lone quote before a shell's quotes would close them; that is no command line.
          const args = [
            "x",
            ...before.filter((argument) => !/^--?[A-Za-z]/.test(argument)),
            ...put(text),
            ...after,
          ];
          const { parts } = redactor.argv(args.join("\0"));
          const shown = text.replace(/[/?#]/g, "x");
          expect(parts.join("\0")).not.toContain(text);
          expect(parts.join("\0")).not.toContain(shown);
          expect(redactor.argv(parts.join("\0")).parts).toEqual(parts);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("no secret comes out of a variable that holds a command", () => {
    const variable = fc.constantFrom("SUDO_COMMAND", "SSH_ORIGINAL_COMMAND", "PROMPT_COMMAND");
    fc.assert(
      fc.property(variable, secret, wrap, (name, text, put) => {
        const command = ["/usr/bin/x", ...put(text), "after"].join(" ");
        const { parts } = redactor.environment(`HOME=/\0${name}=${command}`);
        const shown = text.replace(/[/?#]/g, "x");
        expect(parts[1]).not.toContain(text);
        expect(parts[1]).not.toContain(shown);
        expect(parts[1]).toMatch(new RegExp(`^${name}=/usr/bin/x `));
        expect(redactor.environment(parts.join("\0")).parts).toEqual(parts);
      }),
      { numRuns: 2000 },
    );
  });

  it("equal secrets come out equal, whatever named them", () => {
    fc.assert(
      fc.property(secret, (text) => {
        const { parts } = redactor.argv(`a\0--token\0${text}\0PASSWORD=${text}`);
        expect(parts.slice(2)).toEqual([markerOf(text), `PASSWORD=${markerOf(text)}`]);
      }),
    );
  });

  it.each(["password='", 'password="', "identified by '"])("%j has one mark at most", (text) => {
    const once = redactor.argv(text);
    expect(once.parts.join("").split("[redacted:").length).toBeLessThanOrEqual(2);
    expect(redactor.argv(once.parts.join("\0")).parts).toEqual(once.parts);
  });

  it("any bytes are taken, and what has been redacted stays", () => {
    const piece = fc.constantFrom(
      ..."'\"\\ =:&;@/,|\0\n-_.{}[]",
      "password",
      "--token",
      "://",
      "Bearer ",
      "eyJ",
      "-----BEGIN ",
      "PRIVATE KEY-----",
      "mysql",
      "-p",
      "curl",
      "-u",
      "identified by ",
      "[redacted:0123456789ab]",
      "[redacted]",
      "kJ8sQ2mZx7LpT4vWn9RbYc3D",
      "\xff",
      "a",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const once = redactor.argv(pieces.join(""));
        expect(once.parts.length).toBe(pieces.join("").split("\0").length);
        expect(redactor.argv(once.parts.join("\0")).parts).toEqual(once.parts);
      }),
      { numRuns: 5000 },
    );
  });

  it.each([
    "\0-----BEGIN --tokenPRIVATE KEY-----'",
    "'--token://:;@",
    "curl\0-upasswordPRIVATE KEY-----'",
  ])("what touches a secret in %j is settled when it is told", (text) => {
    const { parts } = redactor.argv(text);
    expect(parts.join("")).toContain("[redacted");
    expect(redactor.argv(parts.join("\0")).parts).toEqual(parts);
  });

  it("finds random tokens of 32 bytes, but for one in a hundred", () => {
    let missed = 0;
    const count = 2000;
    for (let number = 0; number < count; number += 1) {
      const token = createHash("sha256").update(String(number)).digest("base64url");
      if (redactor.argv(`x\0${token}`).places.length === 0) missed += 1;
    }
    expect(missed).toBeLessThan(count / 100);
  });

  it("a name that is a secret's is one that the first look finds", () => {
    const part = fc.constantFrom(
      "db",
      "pass",
      "word",
      "api",
      "key",
      "token",
      "auth",
      "pw",
      "sig",
      "x",
    );
    const name = fc.tuple(
      fc.array(part, { minLength: 1, maxLength: 5 }),
      fc.constantFrom("-", "_", "", "."),
    );
    fc.assert(fc.property(name, ([parts, separator]) => {
      const text = parts.join(separator);
      const isMentioned = mentionsSecretName(`?${text}=x`) || mentionsSecretName(`&${text}=x`);
      expect(!isSecretName(text) || isMentioned).toBe(true);
    }));
  });

  it.each([
    ["one long run", "eyJ".repeat(43_000)],
    ["many beginnings", "-eyJ".repeat(32_000)],
    ["many names", "password".repeat(16_000)],
    ["many names with separators", 'password=\\"'.repeat(11_000)],
    ["many URLs", "://:@".repeat(26_000)],
    ["many key marks", "-----BEGIN PRIVATE KEY-----".repeat(4_700)],
    ["many key beginnings", "-----BEGIN ".repeat(11_000)],
    ["many quotes", "password='\\".repeat(11_000)],
    ["many headers", "\ncookie: a".repeat(12_000)],
    ["blanks", "identified ".repeat(11_000) + " ".repeat(4_000)],
    ["thousands of arguments", "-pa\0mysql\0".repeat(12_000)],
    ["thousands of secrets", Array.from({ length: 16_000 }, (_, at) => `PW=${at}`).join("\0")],
    ["nested commands", "mysql -p' ".repeat(12_000)],
    ["random text", "kJ8sQ2mZx7LpT4vWn9RbYc3D ".repeat(5_000)],
    ["slashes", "a/".repeat(65_000)],
    ["dots", "eyJ.".repeat(32_000)],
    ["one long setting", "\0pw\0set\0" + "_".repeat(130_000) + "1"],
    ["one long setting in a command", "pw set " + "_".repeat(130_000) + "1"],
    ["many names in one word", "pw=".repeat(43_000)],
    ["many names and quotes", 'pw="'.repeat(32_000)],
    ["many headers on one line", '"pw: '.repeat(26_000)],
    ["many key beginnings and one mark", "-----BEGIN ".repeat(11_000) + "PRIVATE KEY-----"],
    ["many commands with quotes", `sshpass -p "a -p 'a `.repeat(6_500)],
    ["many statements", "set password for x ".repeat(6_800)],
    ["many options in one word", "curl -" + "s".repeat(130_000)],
    ["many users", "curl -u " + "a:".repeat(65_000)],
  ])("128 KiB of %s take no long time", (_name, text) => {
    const tookMs = processorMsOf(() => {
      redactor.argv(`x\0${text}`);
      redactor.environment(text);
    });
    expect(tookMs).toBeLessThan(1500);
  });
});
