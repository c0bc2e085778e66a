// Words for people.

/** With a capital at its beginning: what the server tells begins small, to stand within a sentence. */
export function sentence(text: string): string {
  return text ? text[0].toUpperCase() + text.slice(1) : "";
}
