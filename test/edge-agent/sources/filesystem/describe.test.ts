import { describe as suite, expect, it } from "vitest";
import {
  describe,
  knownPathOf,
  type Observation,
} from "../../../../src/edge-agent/sources/filesystem/describe.ts";
import {
  FAN_CREATE,
  FAN_DELETE,
  FAN_ONDIR,
  FAN_RENAME,
} from "../../../../src/edge-agent/sources/filesystem/fanotify-event.ts";

const seen: Observation = {
  mask: FAN_CREATE,
  readAtUs: 5,
  path: { path: "/d/name", isComplete: true },
  newPath: undefined,
  isExchange: false,
  isLink: false,
  device: "8:1",
  inode: { inode: 7, generation: 9 },
  attributes: undefined,
  linkText: undefined,
};

const actor = { name: "/bin/x", escaped: [] };

suite("events of a fanotify report", () => {
  it("carry time, path and identity of the inode", () => {
    expect(describe(seen, actor)).toEqual([{
      timeUs: 5,
      topic: "file/create",
      severity: "info",
      outcome: "success",
      path: "/d/name",
      message: "/bin/x created /d/name",
      detail: { how: "create", device: "8:1", inode: 7, generation: 9 },
    }]);
  });

  it("are two when the kernel merged creation and removal, and say so", () => {
    const mask = FAN_CREATE | FAN_DELETE | FAN_ONDIR;
    const events = describe({ ...seen, mask }, actor);
    expect(events.map(({ topic, detail }) => [topic, detail?.["how"], detail?.["merged"]])).toEqual(
      [["file/create", "mkdir", true], ["file/delete", "rmdir", true]],
    );
  });

  it("name a rename's old and new path, escaping bytes that are not text", () => {
    const [event] = describe({
      ...seen,
      mask: FAN_RENAME,
      path: { path: "/d/\xff", isComplete: true },
      newPath: { path: "/d/\xc3\xa9", isComplete: true },
    }, actor);
    expect(event).toMatchObject({ topic: "file/rename", path: "/d/é", old_path: "/d/\\xff" });
    expect(event?.detail?.["escaped"]).toEqual(["old_path", "message"]);
    expect(event?.message).toBe("/bin/x renamed /d/\\xff to /d/é");
  });

  it("say when the directory is not known", () => {
    const path = knownPathOf(undefined, "name");
    const newPath = knownPathOf("/", "name");
    const [one] = describe({ ...seen, path }, actor);
    expect([one?.path, one?.detail?.["incomplete"]]).toEqual(["name", ["path"]]);
    const [two] = describe({ ...seen, mask: FAN_RENAME, path, newPath }, actor);
    expect([two?.path, two?.old_path, two?.detail?.["incomplete"]]).toEqual([
      "/name",
      "name",
      ["old_path"],
    ]);
  });
});
