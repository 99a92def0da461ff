/**
 * A change of the registry that people make, with its record: written before the change, and ended with what became of
 * it. One that another writer was faster at is recorded as failed.
 */
import { type Deed, type RecordPlace, withRecord } from "./admin-record.ts";

/** Another was faster, between the look and the change. */
class ChangedMeanwhile extends Error {
  constructor({ kind, parameters }: Deed) {
    super(`another was faster at "${String(parameters["name"])}" (${kind})`);
    this.name = "ChangedMeanwhile";
  }
}

/** Records, then changes; false when the change says that another was faster. Throws what the change throws. */
export async function recordedChange(
  place: RecordPlace,
  deed: Deed,
  change: () => Promise<boolean>,
): Promise<boolean> {
  try {
    await withRecord(place, deed, async (begin) => {
      await begin();
      if (!await change()) throw new ChangedMeanwhile(deed);
      return {};
    });
    return true;
  } catch (error) {
    if (error instanceof ChangedMeanwhile) return false;
    throw error;
  }
}
