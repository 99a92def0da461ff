import { expect, test } from "vitest";
import { createKeptTexts } from "../../src/query/sql/kept-texts.ts";

function keeper(charactersMax: number) {
  const texts = createKeptTexts(charactersMax);
  const made: string[] = [];
  return {
    made,
    get: (text: string) =>
      texts.get(text, () => {
        made.push(text);
        return Promise.resolve(text.toUpperCase());
      }),
  };
}

test("what was made of a text is made once", async () => {
  const { get, made } = keeper(100);
  expect([await get("a"), await get("b"), await get("a")]).toEqual(["A", "B", "A"]);
  expect(made).toEqual(["a", "b"]);
});

test("those asked for last are kept, up to the bound", async () => {
  const { get, made } = keeper(6);
  for (const text of ["a", "b", "c", "a", "d", "a", "b", "abcd", "a"]) await get(text);
  // `d` took the place of `b`, and `b` that of `c`; what is longer than the bound is not kept, nor what was there.
  expect(made).toEqual(["a", "b", "c", "d", "b", "abcd", "a"]);
});

test("two who ask at the same time count once", async () => {
  const { get, made } = keeper(4);
  await Promise.all([get("a"), get("a")]);
  await get("b");
  await get("a");
  expect(made).toEqual(["a", "a", "b"]);
});

test("what could not be made is tried again", async () => {
  const texts = createKeptTexts(100);
  await expect(texts.get("a", () => Promise.reject(new Error("later")))).rejects.toThrow("later");
  expect(await texts.get("a", () => Promise.resolve("A"))).toBe("A");
});
