/** What the side of the page says. Text only ever enters the page as text. */

import { BadPicture, Refused, SafelightError, type Annotation, type Check } from "../index.ts";

export function find<E extends HTMLElement>(selector: string): E {
  return document.querySelector<E>(selector)!;
}

export function element<T extends keyof HTMLElementTagNameMap>(tag: T, text = ""): HTMLElementTagNameMap[T] {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

/** Say something to those who listen instead of looking. */
export function announce(text: string): void {
  find("#status").textContent = text;
}

export function showChecks(checks: readonly Check[] | undefined): void {
  find("#checks").hidden = !checks;
  find("#checks dl").replaceChildren(
    ...(checks ?? []).flatMap(({ name, level, value, detail }) => {
      const said = element("dd", value);
      said.className = level;
      said.dataset["check"] = name;
      if (detail) said.append(element("small", detail));
      return [element("dt", name), said];
    }),
  );
}

/** What went wrong, in the words of whoever refused. */
export function showProblem(error: unknown): void {
  const problem = find("#problem");
  problem.hidden = error === undefined;
  if (error === undefined) return;
  const known = error instanceof SafelightError;
  find("#problem h2").textContent = known ? error.title : "Something broke in this page";
  find("#problem .detail").textContent = known ? error.detail : "Reload it and try again.";
  find("#problem .reference").textContent = error instanceof Refused && error.requestId ? `Request ${error.requestId}` : "";
  const poor = error instanceof Refused ? error.problems : [];
  find("#problem ul").replaceChildren(...poor.map(({ advice }) => element("li", advice)));
  find("#problem .detail").hidden = poor.length > 0;
  find("#access").hidden = !(error instanceof Refused && (error.status === 401 || error.status === 403));
  problem.dataset["kind"] = error instanceof BadPicture ? "picture" : error instanceof Refused ? "refused" : "other";
}

/** Classes with their numbers; pressing one hides or shows it. */
export function showCounts(
  counts: ReadonlyMap<string, number>,
  colours: ReadonlyMap<string, string>,
  hidden: ReadonlySet<string>,
  toggle: (className: string) => void,
): void {
  const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["class"] : undefined;
  const items = [...counts].map(([className, count]) => {
    const button = element("button", className);
    button.type = "button";
    button.append(" ", element("b", String(count)));
    button.setAttribute("aria-pressed", String(!hidden.has(className)));
    button.style.setProperty("--colour", colours.get(className) ?? "");
    [button.dataset["class"], button.dataset["count"]] = [className, String(count)];
    button.addEventListener("click", () => toggle(className));
    const item = element("li");
    item.append(button);
    return item;
  });
  find("#counts").replaceChildren(...items);
  if (focused !== undefined) items.find((item) => item.querySelector("button")?.dataset["class"] === focused)?.querySelector("button")?.focus();
}

/** The objects as a list, for those who do not see the picture. */
export function listFound(annotations: readonly Annotation[]): void {
  find("#found").replaceChildren(
    ...annotations.map(({ className, confidence, box }) => {
      const [left, top, right, bottom] = box.map(Math.round);
      const item = element("li", `${className}, ${Math.round(confidence * 100)} %, ${left} ${top} to ${right} ${bottom}`);
      item.dataset["box"] = box.join(" ");
      return item;
    }),
  );
}

/** A fingerprint in groups that can be read aloud. */
export function showSeal(fingerprint: string | undefined): void {
  find("#seal").classList.toggle("sealed", fingerprint !== undefined);
  find("#sealing").textContent = fingerprint === undefined ? "No key yet: nothing can be sent" : "Sealed with key";
  const code = find("#fingerprint");
  code.textContent = fingerprint?.match(/.{1,8}/g)?.join(" ") ?? "";
  code.dataset["fingerprint"] = fingerprint ?? "";
}
