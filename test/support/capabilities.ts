/** What this machine can do, found by looking: used with `requireCapability`. */
import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, join } from "node:path";

export function isPresent(name: "bpf" | "nats" | "deno"): boolean {
  switch (name) {
    case "bpf":
      return process.getuid?.() === 0 && existsSync("/sys/kernel/btf/vmlinux");
    case "nats":
      return isCommand("nats-server");
    case "deno":
      return isCommand("deno");
  }
}

export function isCommand(name: string): boolean {
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin"];
  return folders.some((folder) => isExecutable(join(folder, name)));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch (error) {
    if (error instanceof Error) return false;
    throw error;
  }
}
