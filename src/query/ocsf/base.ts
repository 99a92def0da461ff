/** What events of every class have: when, how grave, with what outcome, of which host, and where in the log. */
import { type EventClass, OCSF_VERSION, OTHER } from "./classes.ts";
import { type Fields, isInteger, type Source, type Values } from "./fields.ts";
import { timeOf, UNKNOWN } from "./objects.ts";
import { LOG_NAME } from "./system-attributes.ts";

export interface Classification {
  readonly eventClass: EventClass;
  readonly activity: number;
  /** Of the activity 99, when it has one. */
  readonly other: string | undefined;
}

/** Class and activity, by number and by name. */
export function classificationOf({ eventClass, activity, other }: Classification): Values {
  const { uid, name, category, activities } = eventClass;
  const caption = activities[activity] ?? "Unknown";
  return {
    category_uid: category.uid,
    category_name: category.name,
    class_uid: uid,
    class_name: name,
    activity_id: activity,
    activity_name: activity === OTHER ? other ?? caption : caption,
    type_uid: uid * 100 + activity,
    type_name: `${name}: ${caption}`,
  };
}

const SEVERITIES: Readonly<Record<string, readonly [id: number, caption: string]>> = {
  info: [1, "Informational"],
  low: [2, "Low"],
  medium: [3, "Medium"],
  high: [4, "High"],
  critical: [5, "Critical"],
};
const STATUSES: Readonly<Record<string, readonly [id: number, caption: string]>> = {
  success: [1, "Success"],
  failure: [2, "Failure"],
};

export function occurrenceOf(source: Source): Values {
  const { columns, detail } = source;
  const time = timeOf(columns, "time");
  const severity = columns.text("severity", (text) => Object.hasOwn(SEVERITIES, text)) ?? "";
  const outcome = columns.text("outcome", (text) => Object.hasOwn(STATUSES, text)) ?? "";
  const [severityId, severityCaption] = SEVERITIES[severity] ?? [0, "Unknown"];
  const [statusId, status] = STATUSES[outcome] ?? [0, "Unknown"];
  const errno = columns.integer("errno");
  return {
    time: time.millis ?? 0,
    time_dt: time.text,
    timezone_offset: 0,
    duration: durationOf(source),
    count: detail.integer("sample"),
    severity_id: severityId,
    severity: severityCaption,
    status_id: statusId,
    status,
    status_code: errno === undefined ? undefined : String(errno),
    status_detail: detail.text("reason"),
    message: columns.text("message"),
  };
}

/** In whole milliseconds; what is more exact stays where it is. */
function durationOf({ detail }: Source): number | undefined {
  const whole = detail.integer("duration_ms");
  if (whole !== undefined) return whole;
  const exact = detail.peek("duration_ms");
  return typeof exact === "number" && Number.isSafeInteger(Math.round(exact))
    ? Math.round(exact)
    : undefined;
}

export function deviceOf({ columns }: Source): Values {
  return { hostname: columns.text("host") ?? UNKNOWN, type_id: 0, type: "Unknown" };
}

/** Place and kind in the log, and who made this of it. */
export function metadataOf(
  { columns, detail }: Source,
  { version, profiles }: { readonly version: string; readonly profiles: readonly string[] },
): Values {
  const logged = timeOf(columns, "logged_at");
  dropRepeated(columns);
  return {
    version: OCSF_VERSION,
    product: { name: "Probity", vendor_name: "Probity", version },
    profiles,
    uid: columns.text("id"),
    event_code: columns.text("topic"),
    log_name: LOG_NAME,
    sequence: columns.integer("seq"),
    logged_time: logged.millis,
    logged_time_dt: logged.text,
    original_time: detail.text("claimed_time"),
    correlation_uid: columns.text("context"),
    labels: columns.texts("topics"),
  };
}

/** What the id and the time say already. */
function dropRepeated(columns: Fields): void {
  const place = [columns.peekText("incarnation"), columns.peek("seq"), columns.peek("idx")];
  if (place.slice(1).every(isInteger) && columns.peekText("id") === place.join("-")) {
    columns.drop("incarnation");
    columns.drop("idx");
  }
  const [time, day] = [columns.peekText("time"), columns.peekText("event_date")];
  if (day.length === 10 && time.startsWith(day)) columns.drop("event_date");
}
