import { appendFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, it } from "vitest";
import {
  createCollectorSource,
} from "../../../../src/edge-agent/sources/collectors/collector-source.ts";
import {
  createLoginsCollector,
} from "../../../../src/edge-agent/sources/collectors/logins/logins-collector.ts";
import { systemClock } from "../../../../src/runtime/clock.ts";
import { testLog } from "../../../support/ring-sources.ts";
import { type Line, runSource } from "../../../support/source-run.ts";
import { openTemporaryFolder } from "../../../support/temporary-folder.ts";

const START_S = 1_772_100_000;
const us = (second: number): number => (START_S + second) * 1_000_000;
const at = (second: number): string => new Date(us(second) / 1000).toISOString();
const isAny = (): boolean => true;
const told = ({ topic, user, detail }: Line) => `${topic} ${user} ${detail["source"]}`;

/** With the tables as their own programs make them. */
async function openHost() {
  const folder = await openTemporaryFolder("logins");
  const root = join(folder.path, "root");
  for (const name of ["etc", "var/log", "var/lib/wtmpdb", "var/lib/lastlog"]) {
    await mkdir(join(root, name), { recursive: true });
  }
  await writeFile(join(root, "etc/passwd"), "ann:x:1001:1001::/:/bin/sh\n");
  await writeFile(join(root, "var/log/auth.log"), "");
  const wtmp = new DatabaseSync(join(root, "var/lib/wtmpdb/wtmp.db"));
  wtmp.exec(
    "CREATE TABLE wtmp(ID INTEGER PRIMARY KEY, Type INTEGER, User TEXT NOT NULL, Login INTEGER, " +
      "Logout INTEGER, TTY TEXT, RemoteHost TEXT, Service TEXT) STRICT",
  );
  const last = new DatabaseSync(join(root, "var/lib/lastlog/lastlog2.db"));
  last.exec(
    "CREATE TABLE Lastlog2(Name TEXT PRIMARY KEY, Time INTEGER, TTY TEXT, RemoteHost TEXT, " +
      "Service TEXT)",
  );
  const come = (user: string, second: number, service = "sshd"): void => {
    const sql = "INSERT INTO wtmp (Type,User,Login,TTY,RemoteHost,Service) VALUES (3,?,?,?,?,?)";
    wtmp.prepare(sql).run(user, us(second), "pts/3", "198.51.100.7", service);
  };
  const source = createCollectorSource({
    collector: createLoginsCollector({ root, intervalMs: 5, proc: join(root, "proc") }),
    ...{ dataDirectory: folder.path, position: undefined, clock: systemClock, log: testLog },
  });
  return { folder, root, source, wtmp, last, come };
}

const knows = (folder: string, key: string): boolean => {
  using memory = new DatabaseSync(join(folder, "agent-logins.db"), { timeout: 1000 });
  if (memory.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'memory'").get() === undefined) {
    return false;
  }
  return memory.prepare("SELECT 1 FROM memory WHERE key = ?").get(key) !== undefined;
};

it("tells of wtmpdb and lastlog2 what no log tells, once", async () => {
  const { folder, root, source, wtmp, last, come } = await openHost();
  await using _folder = folder;
  using _wtmp = wtmp;
  using _last = last;
  come("otto", -50);
  last.exec(`INSERT INTO Lastlog2 VALUES ('otto', ${START_S - 50}, 'pts/1', NULL, 'login')`);
  await using _source = source;
  expect(await source.probe()).toMatchObject({ how: "auth.log, wtmpdb, lastlog2" });
  await using running = runSource(source);
  while (!knows(folder.path, "lastlog2")) await systemClock.sleep(5);
  // A boot and a session of sudo are no logins; one that lastlog2 has too is one.
  wtmp.exec(`INSERT INTO wtmp (Type,User,Login) VALUES (1,'reboot',${us(1)})`);
  come("ann", 1, "sudo");
  come("ann", 2);
  last.exec(`INSERT INTO Lastlog2 VALUES ('ann', ${START_S + 2}, 'pts/3', '198.51.100.7', 'sshd')`);
  const [login] = await running.waitFor(isAny, { count: 1 });
  expect(login).toMatchObject({
    ...{ topic: "auth/login", time: at(2).replace("Z", "000Z"), user: "ann", uid: 1001 },
    ...{ src_ip: "198.51.100.7", service: "sshd" },
    detail: { source: "wtmpdb", tty: "pts/3", remote: "198.51.100.7" },
  });
  while (!knows(folder.path, "lastlog2:ann")) await systemClock.sleep(5);
  // The log that comes late tells the same, and then another of the same user.
  const accepted = (second: number, pid: number): string =>
    `${at(second)} web sshd[${pid}]: Accepted password for ann from 198.51.100.7 port 1 ssh2\n`;
  await appendFile(join(root, "var/log/auth.log"), accepted(2, 8) + accepted(3, 9));
  await running.waitFor(isAny, { count: 2 });
  // Which wtmpdb has as well; otto, who was there before, leaves.
  come("ann", 3);
  wtmp.exec(`UPDATE wtmp SET Logout = ${us(4)} WHERE User = 'otto'`);
  await running.waitFor(isAny, { count: 3 });
  last.exec(`UPDATE Lastlog2 SET Time = ${START_S + 500} WHERE Name = 'otto'`);
  await running.waitFor(isAny, { count: 4 });
  // A row that is strange hides no other; a table that was emptied is a gap.
  wtmp.exec("INSERT INTO wtmp (Type,User,Login) VALUES (3,'eve',9223372036854775807)");
  come("eve", 600);
  await running.waitFor(isAny, { count: 5 });
  expect(source.losses()).toEqual([
    { class: "unreadable", count: 1, reason: "rows of wtmpdb cannot be read" },
  ]);
  wtmp.exec("BEGIN; DELETE FROM wtmp");
  come("eve", 600);
  come("eve", 900);
  wtmp.exec("COMMIT");
  await running.waitFor(isAny, { count: 6 });
  expect(source.losses()).toMatchObject([{ class: "log" }]);
  // Something else at its place.
  wtmp.exec("DROP TABLE wtmp");
  let losses = source.losses();
  for (; losses.length === 0; losses = source.losses()) await systemClock.sleep(5);
  expect(losses).toMatchObject([{ class: "unreadable", reason: expect.stringContaining("wtmp") }]);
  expect(running.lines.map(told)).toEqual([
    ...["auth/login ann wtmpdb", "auth/login ann auth.log", "auth/logout otto wtmpdb"],
    ...["auth/login otto lastlog2", "auth/login eve wtmpdb", "auth/login eve wtmpdb"],
  ]);
});
