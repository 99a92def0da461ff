/**
 * Programs that the privileged process loads, attaches and pins, as this process sees them.
 *
 * Invariant: a map's descriptor that was handed out lives as long as the object.
 */
import type { Libbpf } from "../libbpf.ts";
import type { ProbeAttachment } from "../attach-probe.ts";
import type { GateDescriptors, MapSizes } from "../map-gate.ts";
import { KernelRefusal, type LoadOptions, type ProgramObject } from "../program-object.ts";
import type { Answer, PrivilegedConnection } from "./connection.ts";

const EACCES = 13;
const EPERM = 1;

/** Throws KernelRefusal, as loading it here would. */
export function loadRemoteObject(
  libbpf: Libbpf,
  connection: PrivilegedConnection,
  options: LoadOptions,
): ProgramObject {
  const { family, variant, ringBytes, compat, values = {}, ...forgotten } = options;
  // Every option travels: another one has to become part of the request.
  forgotten satisfies Readonly<Record<string, never>>;
  const texts = Object.entries(values).map(([name, bytes]) =>
    [name, Buffer.from(bytes).toString("latin1")] as const
  );
  const asked = { family, variant, ringBytes, compat: compat === true ? 1 : 0 };
  const fields = { ...asked, values: Object.fromEntries(texts) };
  const object = checked(connection.ask("object_load", fields)).status;
  const maps = new Map<string, number>();
  let isOpen = true;
  const close = (): void => {
    if (!isOpen) return;
    isOpen = false;
    for (const fd of maps.values()) libbpf.close(fd);
    connection.ask("object_close", { object });
  };
  return {
    mapFd(name) {
      const known = maps.get(name);
      if (known !== undefined) return known;
      const { descriptors: [descriptor] } = checked(connection.ask("object_map", { object, name }));
      if (descriptor === undefined) throw new Error(`Cannot use map "${name}": none came`);
      maps.set(name, descriptor);
      return descriptor;
    },
    attach: () => void checked(connection.ask("object_attach", { object })),
    pin: (folder) => void checked(connection.ask("object_pin", { object, folder })),
    [Symbol.dispose]: close,
    [Symbol.asyncDispose]() {
      close();
      return Promise.resolve();
    },
  };
}

/** Throws when the privileged process refuses. */
export function loadRemoteGate(
  connection: PrivilegedConnection,
  mapFd: number,
  sizes: MapSizes,
): GateDescriptors {
  const { descriptors } = checked(connection.ask("gate_open", sizes, [mapFd]));
  const [scratch = -1, update = -1, remove = -1] = descriptors;
  return { scratch, update, remove };
}

/** 0, or a negative errno. */
export function attachRemoteProbe(
  connection: PrivilegedConnection,
  { fileFd, ...fields }: ProbeAttachment,
): number {
  return connection.ask("probe_attach", fields, [fileFd]).status;
}

/** libbpf with pins opened by the privileged process where this one may not. */
export function createRemoteLibbpf(direct: Libbpf, connection: PrivilegedConnection): Libbpf {
  return {
    ...direct,
    bpf_obj_get(path) {
      const fd = direct.bpf_obj_get(path);
      if (fd !== -EACCES && fd !== -EPERM) return fd;
      return connection.askDescriptor("pin_open", { path });
    },
  };
}

function checked(answer: Answer): Answer {
  if (answer.status >= 0) return answer;
  const why = answer.text === "" ? "Cannot use the privileged process: it refuses" : answer.text;
  throw new KernelRefusal(why.replace(/: errno \d+$/, ""), -answer.status);
}
