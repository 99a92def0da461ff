/** The compiler for kernel programs, as bpf/Makefile uses it. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { requireCapability } from "./require.ts";

/** Folder of the kernel programs. */
export const BPF_FOLDER = fileURLToPath(new URL("../../bpf", import.meta.url));

const tools = ["clang-19", "llvm-strip-19", "make", "bpftool"];

export const hasClang = requireCapability(
  "clang",
  tools.every((tool) => spawnSync("which", [tool]).status === 0),
  `not all of ${tools.join(", ")} are installed: ./setup --dev`,
);
