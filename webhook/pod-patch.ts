/** Operations of RFC 6902 that the webhook uses. */
export type PatchOperation =
  | { readonly op: 'add' | 'replace'; readonly path: string; readonly value: unknown }
  | { readonly op: 'remove'; readonly path: string };

/** Collects the operations on one pod, in the order in which they are to be applied. */
export class PodPatch {
  readonly operations: PatchOperation[] = [];

  /** Sets a field, whether it is there or not; its parent has to be. */
  set(path: readonly (string | number)[], value: unknown): void {
    this.operations.push({ op: 'add', path: pointer(path), value });
  }

  remove(path: readonly (string | number)[]): void {
    this.operations.push({ op: 'remove', path: pointer(path) });
  }

  /** Adds to the end of a list that may not be there yet: an `add` of the whole list would replace what is in it. */
  append(path: readonly (string | number)[], present: unknown, values: readonly unknown[]): void {
    if (values.length === 0) return;
    if (present === undefined) this.set(path, values);
    else for (const value of values) this.set([...path, '-'], value);
  }

  /** Puts values at the beginning of a list that may not be there yet. */
  prepend(path: readonly (string | number)[], present: unknown, values: readonly unknown[]): void {
    if (present === undefined) this.append(path, present, values);
    else for (const [index, value] of values.entries()) this.set([...path, index], value);
  }

  /** Sets entries of a mapping that may not be there yet, and leaves all others. */
  merge(
    path: readonly (string | number)[],
    present: Readonly<Record<string, string>> | undefined,
    entries: Readonly<Record<string, string>>,
  ): void {
    const changed = Object.entries(entries).filter(([key, value]) => present?.[key] !== value);
    if (changed.length === 0) return;
    if (present === undefined) this.set(path, Object.fromEntries(changed));
    else for (const [key, value] of changed) this.set([...path, key], value);
  }
}

/** RFC 6901 section 3. */
function pointer(path: readonly (string | number)[]): string {
  return path
    .map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`)
    .join('');
}
