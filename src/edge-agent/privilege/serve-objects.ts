/**
 * Programs that the privileged process holds for the agent, by number.
 *
 * Invariant: a request that names none is refused; what is closed is taken out of the kernel without making anybody wait.
 */
import { ERRNO } from "../libc.ts";
import {
  FAMILY_MAPS,
  KernelRefusal,
  type LoadOptions,
  type ProgramObject,
  SHARED_MAPS,
} from "../program-object.ts";
import { type Answer, bytesOf, done, handedOver, refused } from "./answers.ts";
import type { Request } from "./messages.ts";
import { onActual } from "./actual-paths.ts";
import { isPin } from "./permitted.ts";
import type { ServeOptions } from "./serve.ts";

/** Objects that are loaded at the same time. */
const OBJECTS_MAX = 32;

type ObjectRequest = Extract<Request, { operation: `object_${string}` }>;

/** Objects by number. A request that names none is refused. */
export function createObjects({ libc, libbpf, loadObject }: ServeOptions) {
  const objects = new Map<number, ProgramObject>();
  let last = 0;
  let ending = 0;
  // Libbpf reads the kernel's types for each object: megabytes that would stay in holes of the heap.
  const ended = (): void => {
    ending -= 1;
    if (ending === 0) libc.malloc_trim(0);
  };
  const load = (options: LoadOptions): Answer => {
    if (libbpf === undefined || objects.size >= OBJECTS_MAX) return refused(ERRNO.EBUSY);
    const object = loadObject(libbpf, options);
    last += 1;
    objects.set(last, object);
    libc.malloc_trim(0);
    return done(last);
  };
  const act = (request: ObjectRequest): Answer => {
    if (request.operation === "object_load") {
      const values = Object.entries(request.fields.values)
        .map(([name, text]) => [name, bytesOf(text)] as const);
      const compat = request.fields.compat === 1;
      return load({ ...request.fields, compat, values: Object.fromEntries(values) });
    }
    const object = objects.get(request.fields.object);
    if (object === undefined) return refused(ERRNO.EBADF);
    switch (request.operation) {
      case "object_map": {
        const name = [...SHARED_MAPS, ...FAMILY_MAPS].find((each) => each === request.fields.name);
        if (name === undefined) return refused(ERRNO.EPERM);
        return { ...handedOver(object.mapFd(name)), isKept: true };
      }
      case "object_attach":
        object.attach();
        return done(0);
      case "object_pin":
        if (!isPin(request.fields.folder)) return refused(ERRNO.EPERM);
        return done(onActual(libc, request.fields.folder, (own) => {
          object.pin(own);
          return 0;
        }));
      case "object_close":
        objects.delete(request.fields.object);
        ending += 1;
        // It may take the kernel seconds: whoever asked does not wait.
        object[Symbol.asyncDispose]().then(ended, ended);
        return done(0);
    }
  };
  return {
    isEnding: () => ending > 0,
    perform(request: ObjectRequest): Answer {
      try {
        return act(request);
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error);
        return { status: error instanceof KernelRefusal ? -error.errno : -ERRNO.EINVAL, text };
      }
    },
  };
}
