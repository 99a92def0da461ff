import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseConfig } from "../../src/cli/config-file.ts";
import { EXIT } from "../../src/cli/exit.ts";
import { locateKeys } from "../../src/cli/toml-lines.ts";

/** Every section of the contract, with every key that it names. */
const WHOLE = `
[agent]
host = "web-1"
labels = {env = "prod"}
environment = ["LD_PRELOAD", "MY_PATH"]
flush = "1s"
listen = "127.0.0.1:7334"
[nats]
url = "nats://127.0.0.1:4222"
credentials_file = "/etc/probity/agent.creds"
[store]
url = "s3://bucket/prefix"
endpoint = "http://127.0.0.1:9000"
region = "eu-central-1"
path_style = true
[rollup]
interval = "10s"
segment_max = "256MiB"
shards = 1
[maintenance]
compact = "15m"
retain = "daily"
vacuum = "daily"
keep = {"**" = "400d", "process/**" = "30d"}
[server]
listen = "127.0.0.1:7333"
tls_cert = "cert.pem"
tls_key = "key.pem"
[[files]]
paths = ["/etc/**"]
exclude = []
kind = "content-diff"
[[files]]
paths = ["/etc/passwd"]
kind = "accounts"
[crypto]
libraries = ["/usr/lib/libssl.so"]
discover = true
provider = "crypto_auditing"
[applications]
port = 5678
socket = "/run/probity.sock"
service = "web"
[[collectors]]
name = "disks"
command = ["df", "-h"]
schedule = "*/5 * * * *"
timeout = "30s"
[[sinks]]
name = "pager"
type = "webhook"
url = "https://siem.example/events"
topics = ["auth/**"]
[limits]
per_second = {file = 5000, "process/fork" = 100}
burst = "2s"
sample = 10
cgroup_factor = 8
[[filters]]
topics = ["file", "network/accept"]
path = "/var/cache"
uid = 33
exe = "/usr/bin/rsync"
cgroup = "/system.slice/backup.service"
reason = "nightly copies"
`;

/** A collector whose last lines are these. */
function collector(rest: string): string {
  return `[[collectors]]\nname = "c"\ncommand = ["c"]\n${rest}`;
}

function faultsOf(toml: string): string[] {
  try {
    parseConfig(toml, "x.toml");
  } catch (error) {
    expect(error).toMatchObject({ exitCode: EXIT.usage });
    return String(error).split("\n").slice(1).map((line) => line.trim());
  }
  return [];
}

describe("a configuration file", () => {
  it("may hold every section of the contract", () => {
    const { values, structures } = parseConfig(WHOLE, "x.toml");
    expect(values.get("agent.host")).toBe("web-1");
    expect(values.get("rollup.segment_max")).toBe(268_435_456);
    expect(values.get("server.listen")).toEqual({ host: "127.0.0.1", port: 7333 });
    expect(structures).toMatchObject({
      labels: { env: "prod" },
      environment: ["LD_PRELOAD", "MY_PATH"],
      keep: { "**": "400d", "process/**": "30d" },
      libraries: ["/usr/lib/libssl.so"],
      limits: { file: 5000, "process/fork": 100 },
      filters: [{ topics: ["file", "network/accept"], uid: 33, path: "/var/cache" }],
    });
    expect(structures.files.map(({ kind }) => kind)).toEqual(["content-diff", "accounts"]);
    expect(structures.collectors[0]?.timeout).toBe("30s");
    expect(structures.sinks[0]?.topics).toEqual(["auth/**"]);
  });

  it("may be empty", () => {
    expect(parseConfig("", "x.toml").values.size).toBe(0);
  });

  it.each([
    [
      "[agent]\nhots = 1",
      "line 2: [agent] hots is unknown; accepted: host, flush, shard, listen, ",
    ],
    ["x = 1", "line 1: [x] is unknown; accepted: [agent], [graphite], [nats], "],
    ["\n[agnet]", "line 2: [agnet] is unknown; accepted: [agent], "],
    ["agent = 1", "line 1: [agent] cannot be 1; accepted: a table [agent]"],
    ["[[agent]]", "line 1: [agent] cannot be [{}]; accepted: a table [agent]"],
    ["[agent]\nflush = 1", "line 2: [agent] flush cannot be 1; accepted: a duration such as"],
    [
      '[agent]\nenvironment = ["A B"]',
      'line 2: [agent] environment cannot be "A B"; accepted: the name of a variable',
    ],
    [
      '[agent]\nlabels.a = "b"\nlabels.b = 1',
      "line 3: [agent] labels.b cannot be 1; accepted: text",
    ],
    [
      '[rollup]\nshards = "2"',
      'line 2: [rollup] shards cannot be "2"; accepted: a whole number from',
    ],
    [
      "[rollup]\nshards = 65",
      "line 2: [rollup] shards cannot be 65; accepted: a whole number from 1",
    ],
    // Each would be told: no limit at all.
    [
      "[limits]\nsample = 1",
      "line 2: [limits] sample cannot be 1; accepted: a whole number from 2",
    ],
    ["[store]\npath_style = 1", "line 2: [store] path_style cannot be 1; accepted: true or false"],
    ["[[files]]", "line 1: [[files]] paths is missing; accepted: a list of at least one path"],
    [
      "[[files]]\npaths = []",
      "line 2: [[files]] paths cannot be []; accepted: a list of at least one",
    ],
    [
      '[[files]]\npaths = ["/a"]\nkinds = "x"',
      "line 3: [[files]] kinds is unknown; accepted: tables",
    ],
    [
      '[[files]]\npaths = ["a"]',
      'line 2: [[files]] paths cannot be "a"; accepted: a path or glob',
    ],
    [
      "[[files]]\npaths = ['/a']\nkind = 'b'",
      'line 3: [[files]] kind cannot be "b"; accepted: one of content-diff, digest, accounts, ',
    ],
    ["files = 1", "line 1: [files] cannot be 1; accepted: tables of paths"],
    ["[[collectors]]\nschedule = 'now'", "line 1: [[collectors]] command is missing"],
    [
      collector("schedule = '61 * * * *'"),
      'line 4: [[collectors]] schedule cannot be "61 * * * *"; accepted: a schedule of five cron',
    ],
    [
      collector("schedule = '* * * * *'\ntopic = 'agent/gap'"),
      'line 5: [[collectors]] topic cannot be "agent/gap"; accepted: a topic such as "app/backup"',
    ],
    [
      collector("schedule = '* * * * *'\ntimezone = 'Mars'"),
      'line 5: [[collectors]] timezone cannot be "Mars"; accepted: a time zone such as',
    ],
    [
      collector("schedule = '* * * * *'\ntimeout = '25h'"),
      'line 5: [[collectors]] timeout cannot be "25h"; accepted: a duration up to 24h',
    ],
    [
      collector("schedule = '* * * * *'\nmemory = '1MiB'"),
      'line 5: [[collectors]] memory cannot be "1MiB"; accepted: a size from "4MiB"',
    ],
    [
      collector("schedule = '* * * * *'\nenvironment = {'A B' = 'c'}"),
      "line 5: [[collectors]] environment",
    ],
    [
      `${collector("schedule = '* * * * *'")}\n${collector("schedule = '* * * * *'")}`,
      "line 1: [collectors] cannot be",
    ],
    [
      '[[sinks]]\nname = "a"\ntype = "pager"',
      'line 3: [[sinks]] type cannot be "pager"; accepted: one of stdout, file, webhook',
    ],
    [
      "[limits]\nper_second = {file = -1}",
      "line 2: [limits] per_second.file cannot be -1; accepted: a whole number of events",
    ],
    [
      "[limits.per_second]\nfile = 1\nfiles = 2",
      "line 3: [limits] per_second.files cannot be 2; accepted: events per second by one of ",
    ],
    [
      '[limits.per_second]\n"file/write" = 2',
      "line 2: [limits] per_second.file/write cannot be 2; accepted: events per second by " +
      "file/create and file/write together",
    ],
    [
      "[limits]\nsample = 1",
      "line 2: [limits] sample cannot be 1; accepted: a whole number from 2",
    ],
    ["[limits]\nfile = 1", "line 2: [limits] file is unknown; accepted: burst, sample, "],
    ["[[filters]]", "line 1: [[filters]] cannot be {}; accepted: a table of at least one of"],
    ["[[filters]]\nreason = 'a'", 'line 1: [[filters]] cannot be {"reason":"a"}; accepted'],
    ["[[filters]]\nuid = -1", "line 2: [[filters]] uid cannot be -1; accepted: a user's number"],
    [
      "[[filters]]\nexe = 'a'",
      'line 2: [[filters]] exe cannot be "a"; accepted: a path that begins',
    ],
    [
      "[[filters]]\nuid = 1\n[[filters]]\nuid = 2\ntopics = ['file', 'nope']",
      'line 5: [[filters]] topics cannot be "nope"; accepted: one of process/exec, ',
    ],
    [
      "[[filters]]\ntopics = ['file/write']",
      'line 2: [[filters]] topics cannot be "file/write"; accepted: file/create and file/write',
    ],
    [
      "[[filters]]\nuid = 1\n".repeat(17),
      "line 1: [filters] cannot be",
    ],
    [
      '[maintenance]\nkeep = {"**" = "long"}',
      'line 2: [maintenance] keep.** cannot be "long"; accep',
    ],
    ["[agent\n", "line 1: Invalid TOML document"],
    ["[agent]\nhost = 1\nhost = 2", "line 3: Invalid TOML document"],
  ])("%j is refused with its line", (toml, message) => {
    expect(faultsOf(toml)[0]?.slice(0, message.length)).toBe(message);
  });

  it("names every fault, not only the first", () => {
    expect(faultsOf("[agent]\na = 1\nb = 2\n[server]\nlisten = 1")).toHaveLength(3);
  });
});

describe("the line of a key", () => {
  it("is found behind comments, strings, lists over lines and repeated tables", () => {
    const toml = [
      "# [agent]",
      "[[files]]",
      "paths = [ # ]",
      '  "]",',
      "]",
      "text = '''",
      "[agent]",
      "x = 1'''",
      "[[files]]",
      '"paths" = ["a"]',
      "[agent] # last",
      "labels.env = 1",
    ].join("\n");
    const lineOf = locateKeys(toml);
    expect(lineOf(["files", 0, "paths"])).toBe(3);
    expect(lineOf(["files", 0, "text"])).toBe(6);
    expect(lineOf(["files", 1, "paths", 0])).toBe(10);
    expect(lineOf(["agent", "labels", "env"])).toBe(12);
    expect(lineOf(["agent", "absent"])).toBe(11);
    expect(lineOf(["absent"])).toBe(1);
  });

  it("is right for any number of keys before it", () => {
    const value = fc.constantFrom(
      '"a # b"',
      "['[', \"]\"]",
      "{a = 1, b = '}'}",
      '"""\n[x]\n"""',
      "1",
    );
    fc.assert(fc.property(fc.array(value), (values) => {
      const before = values.map((text, index) => `k${index} = ${text}`).join("\n");
      const toml = `${before}\nlast = 1`;
      expect(locateKeys(toml)(["last"])).toBe(toml.split("\n").length);
    }));
  });
});
