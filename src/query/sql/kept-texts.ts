/** What was made of texts, kept for when the same is asked again: the most recent, bounded in characters. */

export interface KeptTexts {
  /** What is kept of a text; made where it is not. */
  get(text: string, make: () => Promise<string>): Promise<string>;
}

/** `charactersMax`: of all texts and what was made of them. What is longer alone is not kept. */
export function createKeptTexts(charactersMax: number): KeptTexts {
  const kept = new Map<string, string>();
  let characters = 0;
  const put = (text: string, made: string): void => {
    const before = kept.get(text);
    if (before !== undefined) characters -= text.length + before.length;
    kept.delete(text);
    kept.set(text, made);
    characters += text.length + made.length;
    for (const [oldest, value] of kept) {
      if (characters <= charactersMax) return;
      kept.delete(oldest);
      characters -= oldest.length + value.length;
    }
  };
  return {
    async get(text, make) {
      const made = kept.get(text) ?? await make();
      put(text, made);
      return made;
    },
  };
}
