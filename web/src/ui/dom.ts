// Elements of the page by their ids, checked once.

/** The element with an id, of the class that is expected of it. */
export function element<T extends Element>(id: string, kind: { new (): T; readonly name: string }): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

/** Change a text only where it is another one: a screen reader reads each change. */
export function setText(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}
