/**
 * Whether a process works for a package manager: by the executables of its ancestors, which the kernel names, never by
 * a name that a process gives itself.
 */

/** A process or one of its ancestors. */
export interface WriterProcess {
  readonly process_id?: string | undefined;
  /** Full path; that of a file which was replaced meanwhile ends in ` (deleted)`. */
  readonly exe?: string | undefined;
  /** Of an interpreter, the script that it runs. */
  readonly script?: string | undefined;
}

export interface PackageManager {
  readonly name: string;
  /** Of the outermost process of the manager: when it ends, its work is done. */
  readonly processId: string | undefined;
}

/** What installs, removes or configures packages, in the folders that packages themselves are installed to. */
const MANAGERS: ReadonlySet<string> = new Set([
  "apk",
  "apt",
  "apt-get",
  "aptitude",
  "dnf",
  "dnf-3",
  "dnf5",
  "dpkg",
  "dpkg-deb",
  "microdnf",
  "packagekitd",
  "rpm",
  "tdnf",
  "unattended-upgrade",
  "unattended-upgrades",
  "yum",
  "zypper",
]);
const FOLDER = /^(?:\/usr)?\/(?:bin|sbin|libexec|lib\/packagekit)\/([^/]+)$/;
const INTERPRETER = /^(?:\/usr)?\/(?:bin|libexec)\/(?:platform-python|python)[0-9.]*$/;

/** The manager that a writer works for; undefined when none is among itself and its ancestors (nearest first). */
export function packageManagerOf(
  processes: readonly WriterProcess[],
): PackageManager | undefined {
  const found = processes.flatMap((process) => {
    const name = managerName(process);
    return name === undefined ? [] : [{ name, processId: process.process_id }];
  });
  return found.at(-1);
}

function managerName({ exe = "", script = "" }: WriterProcess): string | undefined {
  const program = exe.replace(/ \(deleted\)$/, "");
  const file = INTERPRETER.test(program) ? script : program;
  const name = FOLDER.exec(file)?.[1];
  return name !== undefined && MANAGERS.has(name) ? name : undefined;
}
