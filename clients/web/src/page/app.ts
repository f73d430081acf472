/**
 * The page at `/`: one picture at a time, from its choice to its boxes, or to what stands on it. The state is on the body
 * (`data-state`): empty, checking, ready, working, done; so is what is asked for (`data-mode`): detect, read.
 */

import { LIMITS, prepare, Refused, SafelightClient, type Answer, type Model, type Prepared } from "../index.ts";
import { listen } from "./intake.ts";
import { colourOf, Overlay, paint, type Scene } from "./overlay.ts";
import { announce, find, listFound, showChecks, showCounts, showProblem, showSeal } from "./panel.ts";
import { showReading } from "./reading.ts";

type State = "empty" | "checking" | "ready" | "working" | "done";
type Mode = "detect" | "read";

const READS = "image-to-json";
const LEAST_CONFIDENCE = 0.05;
/** Longest side of the picture that is shown, in pixels; the one that is sent keeps its size. */
const SHOWN_SIDE = 2560;

const picture = find<HTMLCanvasElement>("#picture");
const send = find<HTMLButtonElement>("#send");
const model = find<HTMLSelectElement>("#model");
const threshold = find<HTMLInputElement>("#threshold");
const overlay = new Overlay(find<HTMLCanvasElement>("#boxes"));

let client: SafelightClient | undefined;
let models: readonly Model[] = [];
let defaults: Partial<Record<Mode, string | null>> = {};
let mode: Mode = "detect";
let prepared: Prepared | undefined;
let answer: Answer | undefined;
let hidden = new Set<string>();
let colours = new Map<string, string>();
let running = new AbortController();

function become(state: State, said: string): void {
  document.body.dataset["state"] = state;
  send.disabled = !prepared || !client || state === "checking" || state === "working";
  send.textContent = state === "working" ? "Sealed, on its way" : state === "done" ? "Ask again" : "Seal and send";
  find("#result").hidden = state !== "done" || mode !== "detect";
  find("#reading").hidden = state !== "done" || mode !== "read";
  announce(said);
}

/** A picture came in: whatever is under way is of no use any more. */
async function take(file: File): Promise<void> {
  running.abort();
  const mine = (running = new AbortController());
  [prepared, answer] = [undefined, undefined];
  overlay.show(undefined);
  showProblem(undefined);
  become("checking", "Checking the picture");
  try {
    const ready = await prepare(file);
    if (mine.signal.aborted) return;
    prepared = ready;
    show(ready.canvas);
    showChecks(ready.checks);
    become("ready", "Checked. Nothing has been sent.");
    send.focus({ preventScroll: true });
  } catch (error) {
    if (mine.signal.aborted) return;
    showChecks(undefined);
    showProblem(error);
    become("empty", "");
  }
}

function show(canvas: HTMLCanvasElement): void {
  const scale = Math.min(1, SHOWN_SIDE / Math.max(canvas.width, canvas.height));
  picture.width = Math.max(1, Math.round(canvas.width * scale));
  picture.height = Math.max(1, Math.round(canvas.height * scale));
  picture.getContext("2d")?.drawImage(canvas, 0, 0, picture.width, picture.height);
  picture.setAttribute("aria-label", "The picture");
}

async function ask(): Promise<void> {
  if (mode === "read") return read();
  if (!client || !prepared) return;
  const { signal } = running;
  const chosen = models.find(({ name }) => name === model.value);
  const least = chosen?.thresholds?.score;
  showProblem(undefined);
  become("working", "Sealed, on its way");
  try {
    const found = await client.detect(prepared.file, {
      signal,
      ...(model.value && { model: model.value }),
      // All that the slider can reach is fetched at once: moving it sends nothing.
      ...(least !== undefined && { threshold: Math.min(least, Math.max(LEAST_CONFIDENCE, chosen?.thresholds?.floor ?? 0)) }),
    });
    if (signal.aborted) return;
    answer = found;
    showSeal(answer.sealedWith);
    showAnswer(answer, least);
    become("done", "");
    announce(find("#result h2").textContent.trim());
  } catch (error) {
    if (signal.aborted) return;
    answer = undefined;
    overlay.show(undefined);
    showProblem(error);
    become("ready", "");
  }
}

async function read(): Promise<void> {
  if (!client || !prepared) return;
  const { signal } = running;
  showProblem(undefined);
  become("working", "Sealed, on its way");
  const begun = performance.now();
  try {
    const found = await client.read(prepared.file, { signal, ...(model.value && { model: model.value }) });
    if (signal.aborted) return;
    showSeal(found.sealedWith);
    showReading(found, performance.now() - begun);
    become("done", "Read");
  } catch (error) {
    if (signal.aborted) return;
    showProblem(error);
    become("ready", "");
  }
}

/** Ask for something else from now on; an answer that is shown is of no use then. */
function choose(chosen: Mode): void {
  running.abort();
  running = new AbortController();
  mode = chosen;
  document.body.dataset["mode"] = mode;
  answer = undefined;
  overlay.show(undefined);
  showProblem(undefined);
  for (const button of document.querySelectorAll<HTMLElement>("#modes button")) {
    button.setAttribute("aria-pressed", String(button.dataset["mode"] === mode));
  }
  listModels();
  become(prepared ? "ready" : "empty", mode === "read" ? "Pictures are read" : "Objects are found");
}

/** The models that do what is asked for. */
function listModels(): void {
  const own = models.filter(({ task, name }) => (task ? task === READS : name === defaults.read) === (mode === "read"));
  model.replaceChildren(
    ...own.map(({ name, state }) => {
      const option = new Option(name, name, name === defaults[mode], name === defaults[mode]);
      option.disabled = state !== "ready";
      return option;
    }),
  );
  model.disabled = false;
  find("#models").hidden = own.length === 0;
}

function showAnswer({ annotations, model: used, timingMs }: Answer, least: number | undefined): void {
  const weakest = Math.min(1, ...annotations.map(({ confidence }) => confidence));
  const lowest = least === undefined ? weakest : Math.min(least, LEAST_CONFIDENCE);
  threshold.min = String(Math.floor(lowest * 100) / 100);
  threshold.value = String(Math.floor((least ?? lowest) * 100) / 100);
  hidden = new Set();
  const names = [...new Set(annotations.map(({ className }) => className))];
  colours = new Map(names.map((name, index) => [name, colourOf(index)]));
  const took = timingMs["total"] === undefined ? "" : `, ${Math.round(timingMs["total"])} ms`;
  find("#answered").textContent = `${used.name} ${used.version}${took}`;
  filter();
}

/** What is strong enough and not switched off. */
function filter(): void {
  if (!answer) return;
  const least = threshold.valueAsNumber;
  find("#least").textContent = `${Math.round(least * 100)} %`;
  const strong = answer.annotations.filter(({ confidence }) => confidence >= least);
  const shown = strong.filter(({ className }) => !hidden.has(className));
  const counts = new Map<string, number>();
  for (const { className } of strong) counts.set(className, (counts.get(className) ?? 0) + 1);
  showCounts(counts, colours, hidden, (className) => {
    if (!hidden.delete(className)) hidden.add(className);
    filter();
  });
  find("#total").textContent = shown.length > 0 ? String(shown.length) : "Nothing";
  listFound(shown);
  overlay.show(sceneOf(shown));
  picture.setAttribute("aria-label", `The picture with ${shown.length} boxes`);
}

function sceneOf(annotations: Scene["annotations"]): Scene {
  const { width, height } = prepared!.canvas;
  return { width, height, annotations, colours };
}

/** The picture with its boxes, made and kept on this machine. */
function save(): void {
  if (!prepared || !answer) return;
  const { canvas } = prepared;
  const whole = document.createElement("canvas");
  [whole.width, whole.height] = [canvas.width, canvas.height];
  const context = whole.getContext("2d");
  if (!context) return;
  context.drawImage(canvas, 0, 0);
  const zoom = Math.max(1, canvas.width / picture.clientWidth);
  const shown = answer.annotations.filter((one) => one.confidence >= threshold.valueAsNumber && !hidden.has(one.className));
  context.scale(zoom, zoom);
  paint(context, sceneOf(shown), 1 / zoom);
  whole.toBlob((blob) => {
    if (!blob) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "safelight.png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }, "image/png");
}

function clear(): void {
  running.abort();
  [prepared, answer] = [undefined, undefined];
  overlay.show(undefined);
  showChecks(undefined);
  showProblem(undefined);
  become("empty", "");
  find("#choose").focus();
}

/** Get the keys and the list of models; without the list the default model answers. */
async function connect(accessKey?: string): Promise<void> {
  try {
    client = new SafelightClient(accessKey ? { apiKey: accessKey } : {});
    showSeal(await client.sealedWith());
  } catch (error) {
    client = undefined;
    showSeal(undefined);
    showProblem(error);
    return;
  }
  try {
    const listed = await client.models();
    models = listed.models;
    defaults = { detect: listed.default, read: listed.default_reader ?? null };
    find("#modes").hidden = !models.some(({ task, state }) => task === READS && state === "ready");
    listModels();
  } catch (error) {
    if (!(error instanceof Refused && error.status === 403)) showProblem(error);
    find("#models").hidden = true;
  }
}

listen((file) => void take(file));
send.addEventListener("click", () => void ask());
threshold.addEventListener("input", filter);
model.addEventListener("change", () => announce(`Model ${model.value}`));
find("#save").addEventListener("click", save);
for (const button of ["#again", "#next"]) find(button).addEventListener("click", clear);
for (const button of document.querySelectorAll<HTMLElement>("#modes button")) {
  button.addEventListener("click", () => choose(button.dataset["mode"] as Mode));
}
find<HTMLFormElement>("#access").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = new FormData(event.target as HTMLFormElement).get("key");
  showProblem(undefined);
  void connect(String(key)).then(() => become(prepared ? "ready" : "empty", ""));
});
if (navigator.maxTouchPoints > 0) {
  find("#photograph").hidden = false;
  find("#drop p").textContent = "Choose or take a picture";
}
find("#most").textContent = `${Math.floor(LIMITS.maxBytes / 1e6)} MB`;
become("empty", "");
await connect();
become(prepared ? "ready" : "empty", "");
