import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import { describeObjectStore } from "../support/object-store-conformance.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";
import { afterAll, beforeAll } from "vitest";

let folder: Awaited<ReturnType<typeof openTemporaryFolder>>;

beforeAll(async () => {
  folder = await openTemporaryFolder("fs-store");
});
afterAll(() => folder[Symbol.asyncDispose]());

describeObjectStore({
  name: "directory",
  open: () => openDirectoryStore({ directory: `${folder.path}/bucket` }),
  largeBytes: 5_000_000,
});
