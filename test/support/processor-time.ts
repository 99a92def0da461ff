/** Processor time of this thread alone, for bounds on work: how long it takes depends on what else the machine does. */
export function processorMsOf(work: () => void): number {
  const before = process.threadCpuUsage();
  work();
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1_000;
}
