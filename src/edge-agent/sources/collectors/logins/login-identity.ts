/**
 * Session and login uid of the process that a record names, as the kernel keeps them (`/proc/<pid>`): what leads from a
 * login to everything done in it, over su and sudo.
 *
 * Invariant: a process that was started after the record was written is another one, and says nothing.
 */
import { readKernelText } from "../../../kernel-files.ts";
import type { LoginIdentity } from "./login-record.ts";

const UNSET = 4_294_967_295;
/** Ticks of /proc in every kernel of 64 bits; the boot's time is in whole seconds. */
const TICK_US = 10_000;
const TOLERANCE_US = 2_000_000;

/** Nothing where the process has ended, or this kernel keeps none. */
export function loginIdentityOf(
  pid: number,
  { timeUs, proc = "/proc" }: { readonly timeUs: number; readonly proc?: string },
): LoginIdentity {
  const read = (name: string): string | undefined => readKernelText(`${proc}/${name}`);
  const [, bootSeconds] = /^btime ([0-9]+)$/m.exec(read("stat") ?? "") ?? [];
  const stat = read(`${pid}/stat`);
  // After the name, which may hold anything: state is the third field, the start the 22nd.
  const ticks = stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  const startUs = Number(bootSeconds) * 1_000_000 + Number(ticks) * TICK_US;
  if (!(startUs <= timeUs + TOLERANCE_US)) return {};
  return {
    ...setOf("session", read(`${pid}/sessionid`)),
    ...setOf("auid", read(`${pid}/loginuid`)),
  };
}

function setOf(name: "session" | "auid", text: string | undefined): LoginIdentity {
  const value = Number(text);
  if (text === undefined || text === "" || value === UNSET) return {};
  return name === "auid" ? { auid: value } : { session: String(value) };
}
