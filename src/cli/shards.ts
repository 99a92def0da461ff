/** Names of the log's shards: the default one is "0", more of them count on. */
export function shardNames(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => String(index));
}
