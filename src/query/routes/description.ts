/** `GET /openapi.json` and `GET /docs`: what all routes take and answer, these two among them. */
import { JSON_TYPE, jsonAnswer } from "../answer.ts";
import { apiPage, PAGE_POLICY } from "../docs/page.ts";
import { OBJECT } from "../json-schema.ts";
import { describeApi } from "../openapi.ts";
import type { ApiDocument } from "../openapi-document.ts";
import type { Route } from "../route.ts";

const HTML_TYPE = "text/html";
const PAGE_HEADERS = {
  "Content-Type": `${HTML_TYPE}; charset=utf-8`,
  "Content-Security-Policy": PAGE_POLICY,
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cache-Control": "public, max-age=300",
} as const;

/** The description is made when it is first asked for, and once. */
export function descriptionRoutes(others: readonly Route[], version: string): readonly Route[] {
  let made: ApiDocument | undefined;
  let page: string | undefined;
  const document = (): ApiDocument => made ??= describeApi([...others, ...own], version);
  const own: readonly Route[] = [{
    method: "GET",
    path: "/openapi.json",
    summary: "This description for programs",
    action: "read",
    answers: { [JSON_TYPE]: OBJECT.describe("an OpenAPI document, version 3.1") },
    tellsScan: false,
    handle: () => Promise.resolve(jsonAnswer(document())),
  }, {
    method: "GET",
    path: "/docs",
    summary: "This description for people; a browser has no token to show",
    action: undefined,
    answers: { [HTML_TYPE]: { type: "string" } },
    answerHeaders: { "Content-Security-Policy": "nothing but the page's own style" },
    handle: () =>
      Promise.resolve(new Response(page ??= apiPage(document()), { headers: PAGE_HEADERS })),
  }];
  return own;
}
