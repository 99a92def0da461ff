/**
 * The bucket: objects with all they ever were, so that a read can show an older state, and conditions that hold at the
 * moment of the write.
 */

export interface ObjectVersion {
  readonly atUs: number;
  /** Undefined where it was deleted. */
  readonly body: Uint8Array | undefined;
  readonly etag: string;
}

/** What a put requires of what stands there. */
export type Condition =
  | { readonly kind: "none" }
  | { readonly kind: "absent" }
  | { readonly kind: "etag"; readonly etag: string };

export class SimulatedBucket {
  readonly #objects = new Map<string, ObjectVersion[]>();
  #writes = 0;
  /** Nothing of it can be reached, though some of what is sent still arrives. */
  isDown = false;
  /** Told of every object that was put, once it stands there. */
  onPut: (key: string, body: Uint8Array) => void = () => undefined;

  /** Told of every object that goes. */
  onDelete: (key: string) => void = () => undefined;

  /** The object as it was then. */
  at(key: string, atUs: number = Infinity): ObjectVersion | undefined {
    const version = this.#objects.get(key)?.findLast((each) => each.atUs <= atUs);
    return version?.body === undefined ? undefined : version;
  }

  /** Keys that had content then, in order. */
  keys(prefix: string, atUs: number = Infinity): readonly string[] {
    return [...this.#objects.keys()]
      .filter((key) => key.startsWith(prefix) && this.at(key, atUs) !== undefined)
      .sort();
  }

  /** Whether the condition held and the object was written. */
  put(
    key: string,
    body: Uint8Array,
    options: { readonly condition: Condition; readonly atUs: number },
  ) {
    const { condition, atUs } = options;
    const standing = this.at(key);
    if (condition.kind === "absent" && standing !== undefined) return false;
    if (condition.kind === "etag" && standing?.etag !== condition.etag) return false;
    this.#writes += 1;
    const copy = body.slice();
    this.#add(key, { atUs, body: copy, etag: `"${this.#writes}"` });
    this.onPut(key, copy);
    return true;
  }

  delete(key: string, atUs: number): void {
    if (this.at(key) === undefined) return;
    this.#add(key, { atUs, body: undefined, etag: "" });
    this.onDelete(key);
  }

  #add(key: string, version: ObjectVersion): void {
    const versions = this.#objects.get(key) ?? [];
    versions.push(version);
    this.#objects.set(key, versions);
  }
}
