/** What was read, at the side of the page: fields, how sure they are, what the rule finds. Knows nothing of requests. */

import type { Reading } from "../index.ts";
import { element, find } from "./panel.ts";

const NAMES: Readonly<Record<string, string>> = {
  keyway: "Keyway",
  bitting: "Bitting",
  brand: "Brand",
  lockType: "Lock type",
  estimatedAnnualProduction: "Made each year",
  manufacturingComplexity: "Complexity",
  marketPenetration: "Market share",
  timeInMarket: "Time in market",
};
/** Below it, the answer is said to be doubtful. */
const DOUBTFUL = 0.5;

interface Risk {
  readonly level: string;
  readonly score: number;
  readonly reasons: readonly { readonly rule: string; readonly points: number; readonly text: string }[];
}

export function showReading({ fields, confidence, quality, sources, model }: Reading, tookMs: number): void {
  const sure = Math.round(confidence * 100);
  find("#sure").textContent = `${sure} %`;
  find<HTMLMeterElement>("#confidence").value = confidence;
  find("#reading").classList.toggle("doubtful", confidence < DOUBTFUL);
  const { risk, ...plain } = fields as { risk?: Risk };
  find("#fields").replaceChildren(...Object.entries(plain).flatMap(([name, value]) => row(name, value, sources[name])));
  showRisk(risk);
  const sharpness = Math.round(quality["sharpness"] ?? 0);
  find("#measured").textContent = `Sharpness ${sharpness}, ${quality["width"]} × ${quality["height"]}`;
  find("#read-by").textContent = `${model.name} ${model.version} on ${model.base.name}, ${Math.round(tookMs)} ms`;
}

/** A field with its source, which stands out where its value is an illustration only. */
function row(name: string, value: unknown, source: string | undefined): HTMLElement[] {
  const known = value !== null && value !== undefined;
  const said = element("dd", known ? textOf(value) : "not known");
  said.dataset["field"] = name;
  said.classList.toggle("unknown", !known);
  if (source?.startsWith("illustrative")) said.append(element("small", "illustrative"));
  if (source) said.title = source;
  return [element("dt", NAMES[name] ?? name), said];
}

function showRisk(risk: Risk | undefined): void {
  find("#risk").hidden = !risk;
  if (!risk) return;
  find("#level").textContent = `${risk.level}, ${risk.score} of 100`;
  find("#risk").dataset["level"] = risk.level;
  find("#reasons").replaceChildren(...risk.reasons.map(({ text }) => element("li", text)));
}

function textOf(value: unknown): string {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
