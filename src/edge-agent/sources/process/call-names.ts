/**
 * Names of the system calls that change credentials or namespaces, by their numbers on this machine, and of error and
 * signal numbers.
 */
import { constants } from "node:os";
import process from "node:process";
import { CALL_EXEC } from "../../record-layout.ts";

const X64: Readonly<Record<number, string>> = {
  105: "setuid",
  106: "setgid",
  113: "setreuid",
  114: "setregid",
  116: "setgroups",
  117: "setresuid",
  119: "setresgid",
  122: "setfsuid",
  123: "setfsgid",
  126: "capset",
  272: "unshare",
  308: "setns",
};
const ARM64: Readonly<Record<number, string>> = {
  91: "capset",
  97: "unshare",
  143: "setregid",
  144: "setgid",
  145: "setreuid",
  146: "setuid",
  147: "setresuid",
  149: "setresgid",
  151: "setfsuid",
  152: "setfsgid",
  159: "setgroups",
  268: "setns",
};
const NAMES = process.arch === "arm64" ? ARM64 : X64;

/** `exec` for the number of an exec. */
export function callName(number: number): string {
  return number === CALL_EXEC ? "exec" : NAMES[number] ?? `call ${number}`;
}

const byNumber = (names: Readonly<Record<string, number>>): ReadonlyMap<number, string> =>
  new Map(Object.entries(names).map(([name, number]) => [number, name]));
const ERRORS = byNumber(constants.errno);
const SIGNALS = byNumber(constants.signals);

/** `EPERM`. */
export function errorName(error: number): string {
  return ERRORS.get(error) ?? `error ${error}`;
}

/** `SIGKILL`. */
export function signalName(signal: number): string {
  return SIGNALS.get(signal) ?? `signal ${signal}`;
}
