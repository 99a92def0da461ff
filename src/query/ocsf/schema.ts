/** What `/openapi.json` says of answers in OCSF: the attributes that every event has. Their classes are in docs/ocsf.md. */
import { type Type, type } from "arktype";
import { OBJECT, WHOLE } from "../json-schema.ts";
import { pageSchema } from "../schemas.ts";
import { OCSF_VERSION } from "./classes.ts";

/** Parameter of the media types that asks for OCSF. */
export const OCSF_PROFILE = "ocsf";

export const OCSF_EVENT_SCHEMA: Type = type({
  category_uid: WHOLE.describe("its category"),
  class_uid: WHOLE.describe("its class, 0 when there is none for it"),
  activity_id: WHOLE.describe("what happened, by the class; 99 when the class does not know it"),
  type_uid: WHOLE.describe("class_uid * 100 + activity_id"),
  time: WHOLE.describe("when it happened, in milliseconds since the Unix epoch"),
  severity_id: WHOLE.describe("0 unknown, 1 informational, 2 low, 3 medium, 4 high, 5 critical"),
  metadata: OBJECT.describe("uid is the id of the event, event_code its topic"),
  device: OBJECT.describe("the host"),
  "unmapped?": OBJECT.describe("what has no place in OCSF, under its own names"),
  // Attributes of the class.
  "[string]": "unknown",
}).describe(`an event of OCSF ${OCSF_VERSION}`);

export const OCSF_PAGE_SCHEMA = pageSchema(OCSF_EVENT_SCHEMA);
