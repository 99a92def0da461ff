/** The routes that answer with what is known of many events, not with the events: counts, hosts, processes. */
import type { Route } from "../route.ts";
import { contextRoute, type ContextsParts, contextsRoute } from "./contexts.ts";
import { facetsRoute } from "./facets.ts";
import { fileHistoryRoute } from "./file-history.ts";
import { topicsRoute } from "./figures.ts";
import { hitsRoute } from "./hits.ts";
import { hostRoute, type HostsParts, hostsRoute } from "./hosts.ts";
import { processRoute } from "./processes.ts";
import { type ReportParts, reportRoute } from "./reports.ts";

export function figureRoutes(parts: ReportParts & ContextsParts & HostsParts): Route[] {
  return [
    topicsRoute(parts),
    hostsRoute(parts),
    hostRoute(parts),
    hitsRoute(parts),
    facetsRoute(parts),
    processRoute(parts),
    fileHistoryRoute(parts),
    reportRoute(parts),
    contextsRoute(parts),
    contextRoute(parts),
  ];
}
