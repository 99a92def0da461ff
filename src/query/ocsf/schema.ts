/** What `/openapi.json` says of answers in OCSF: the attributes that every event has. Their classes are in docs/ocsf.md. */
import { pageSchema } from "../schemas.ts";
import type { Schema } from "../route.ts";
import { OCSF_VERSION } from "./classes.ts";

/** Parameter of the media types that asks for OCSF. */
export const OCSF_PROFILE = "ocsf";

const integer = (description: string): Schema => ({ type: "integer", description });

export const OCSF_EVENT_SCHEMA: Schema = {
  type: "object",
  description: `an event of OCSF ${OCSF_VERSION}`,
  required: [
    "activity_id",
    "category_uid",
    "class_uid",
    "device",
    "metadata",
    "severity_id",
    "time",
    "type_uid",
  ],
  properties: {
    category_uid: integer("its category"),
    class_uid: integer("its class, 0 when there is none for it"),
    activity_id: integer("what happened, by the class; 99 when the class does not know it"),
    type_uid: integer("class_uid * 100 + activity_id"),
    time: integer("when it happened, in milliseconds since the Unix epoch"),
    severity_id: integer("0 unknown, 1 informational, 2 low, 3 medium, 4 high, 5 critical"),
    metadata: { type: "object", description: "uid is the id of the event, event_code its topic" },
    device: { type: "object", description: "the host" },
    unmapped: { type: "object", description: "what has no place in OCSF, under its own names" },
  },
};

export const OCSF_PAGE_SCHEMA = pageSchema(OCSF_EVENT_SCHEMA);
