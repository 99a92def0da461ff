import fc from "fast-check";
import { expect, it } from "vitest";
import { createSseParser, readSse, type ServerSentEvent } from "../../src/client/sse.ts";
import { chunkedStream, cutAnywhere } from "./chunks.ts";

async function messagesOf(text: string): Promise<ServerSentEvent[]> {
  return await Array.fromAsync(readSse(chunkedStream([new TextEncoder().encode(text)])));
}

it.each([
  ["data of several lines", "data: a\ndata: b\n\n", [["message", "a\nb", ""]]],
  ["a name and an id", "event: audit\nid: 7\ndata: {}\n\n", [["audit", "{}", "7"]]],
  ["a field without a space", "data:a\n\n", [["message", "a", ""]]],
  ["only one space is taken away", "data:  a\n\n", [["message", " a", ""]]],
  ["a field without a colon", "data\n\n", [["message", "", ""]]],
  ["a colon in a value", "data: a:b\n\n", [["message", "a:b", ""]]],
  ["comments", ": beat\n\ndata: a\n: more\n\n", [["message", "a", ""]]],
  ["unknown fields", "colour: red\ndata: a\n\n", [["message", "a", ""]]],
  ["ends of lines of every kind", "data: a\r\n\r\ndata: b\r\rdata: c\n\n", [
    ["message", "a", ""],
    ["message", "b", ""],
    ["message", "c", ""],
  ]],
  ["a byte order mark", "\u{FEFF}data: a\n\n", [["message", "a", ""]]],
  ["an id that holds for later messages", "id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", [
    ["message", "a", "1"],
    ["message", "b", "1"],
    ["message", "c", ""],
  ]],
  ["an id with NUL, which is ignored", "id: a\0b\ndata: a\n\n", [["message", "a", ""]]],
  ["a name without data, which is dropped", "event: x\n\ndata: a\n\n", [["message", "a", ""]]],
  ["an unfinished message, which is dropped", "data: a\n\ndata: b\n", [["message", "a", ""]]],
])("reads %s", async (_name, text, expected) => {
  const messages = expected.map(([event, data, id]) => ({ event, data, id }));
  expect(await messagesOf(text)).toEqual(messages);
});

it("takes the wait before connecting again from digits only", () => {
  const parser = createSseParser();
  expect(parser.retryMs()).toBeUndefined();
  parser.push("retry: 1500");
  parser.push("retry: 2s");
  expect(parser.retryMs()).toBe(1500);
});

it("reports every line that completes no message, comments too", async () => {
  let lines = 0;
  const stream = chunkedStream([new TextEncoder().encode(": beat\n\n: beat\ndata: a\n\n")]);
  await Array.fromAsync(readSse(stream, { onQuietLine: () => lines++ }));
  expect(lines).toBe(4);
});

it("takes an id without data for the last one, once a blank line completes it", () => {
  const parser = createSseParser();
  for (const line of ["id: 1", "data: a", ""]) parser.push(line);
  parser.push("id: 2");
  expect(parser.lastId()).toBe("1");
  expect(parser.push("")).toBeUndefined();
  expect(parser.lastId()).toBe("2");
});

it("reads the same messages however the bytes are cut", async () => {
  const line = fc.constantFrom(
    "data: é🙂",
    "data:",
    "id: 1",
    "id",
    "event: gap",
    ": beat",
    "",
    "x",
  );
  const end = fc.constantFrom("\n", "\r\n", "\r");
  const text = fc.array(fc.tuple(line, end), { maxLength: 40 })
    .map((lines) => lines.flat().join(""));
  await fc.assert(fc.asyncProperty(cutAnywhere(text), async ({ whole, chunks }) => {
    const cut = await Array.fromAsync(readSse(chunkedStream(chunks)));
    expect(cut).toEqual(await messagesOf(whole));
  }));
});

it("reads back what a server writes", async () => {
  const value = fc.string({ unit: "grapheme" }).filter((text) => !/[\r\n\0]/.test(text));
  const message = fc.record({ event: value.filter((text) => text !== ""), id: value, data: value });
  await fc.assert(fc.asyncProperty(fc.array(message), async (messages) => {
    const text = messages.map(({ event, id, data }) =>
      `event: ${event}\nid: ${id}\ndata: ${data}\n\n`
    );
    expect(await messagesOf(text.join(""))).toEqual(messages);
  }));
});
