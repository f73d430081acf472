/** Boxes over the picture: sharp at any zoom, labelled where there is room. Knows nothing of requests. */

import type { Annotation } from "../client.ts";

const MOST_LABELS = 30;
const FONT = '600 12px system-ui, "Segoe UI", Roboto, sans-serif';

/** A class's colour: the same for the same place among the labels, neighbours far apart, none too dark for the room. */
export function colourOf(index: number): string {
  return `hsl(${(14 + index * 137.508) % 360} 95% 64%)`;
}

/** What is drawn. width, height: the picture's own pixels, in which boxes are given. colours: by class name. */
export interface Scene {
  readonly width: number;
  readonly height: number;
  readonly annotations: readonly Annotation[];
  readonly colours: ReadonlyMap<string, string>;
}

export class Overlay {
  #scene: Scene | undefined;
  #pointed: Annotation | undefined;

  constructor(private readonly canvas: HTMLCanvasElement) {
    new ResizeObserver(() => this.#draw()).observe(canvas);
    for (const kind of ["pointermove", "pointerdown"] as const) canvas.addEventListener(kind, (event) => this.#point(event));
    canvas.addEventListener("pointerleave", () => this.#point(undefined));
  }

  show(scene: Scene | undefined): void {
    this.#scene = scene;
    this.#pointed = undefined;
    this.#draw();
  }

  #draw(): void {
    const { clientWidth, clientHeight } = this.canvas;
    const ratio = globalThis.devicePixelRatio;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    const context = this.canvas.getContext("2d");
    if (!context || !this.#scene) return;
    context.scale(ratio, ratio);
    paint(context, this.#scene, clientWidth / this.#scene.width, this.#pointed);
  }

  /** The smallest box under the pointer gets its label, however many there are. */
  #point(event: PointerEvent | undefined): void {
    if (!this.#scene) return;
    const scale = this.#scene.width / this.canvas.clientWidth;
    const [x, y] = event ? [event.offsetX * scale, event.offsetY * scale] : [-1, -1];
    const under = this.#scene.annotations.filter(({ box }) => x >= box[0] && y >= box[1] && x <= box[2] && y <= box[3]);
    const smallest = under.sort((a, b) => area(a) - area(b))[0];
    if (smallest === this.#pointed) return;
    this.#pointed = smallest;
    this.#draw();
  }
}

/** Draw a scene. scale: from the picture's pixels to the context's. */
export function paint(context: CanvasRenderingContext2D, scene: Scene, scale: number, pointed?: Annotation): void {
  const many = scene.annotations.length > MOST_LABELS;
  context.font = FONT;
  context.lineJoin = "round";
  for (const annotation of [...scene.annotations].reverse()) {
    const colour = scene.colours.get(annotation.className) ?? colourOf(0);
    const [left, top, right, bottom] = annotation.box.map((side) => side * scale) as [number, number, number, number];
    context.lineWidth = many && annotation !== pointed ? 1.5 : 2.5;
    context.strokeStyle = colour;
    context.shadowColor = "rgb(0 0 0 / 70%)";
    context.shadowBlur = 3;
    context.strokeRect(left, top, right - left, bottom - top);
    context.shadowBlur = 0;
    if (!many && annotation !== pointed) label(context, annotation, colour, left, top, scene.width * scale);
  }
  if (pointed) {
    const colour = scene.colours.get(pointed.className) ?? colourOf(0);
    const [left, top, right, bottom] = pointed.box.map((side) => side * scale) as [number, number, number, number];
    context.globalAlpha = 0.22;
    context.fillStyle = colour;
    context.fillRect(left, top, right - left, bottom - top);
    context.globalAlpha = 1;
    label(context, pointed, colour, left, top, scene.width * scale);
  }
}

/** Name and confidence above the box's corner, inside the picture. */
function label(
  context: CanvasRenderingContext2D,
  { className, confidence }: Annotation,
  colour: string,
  left: number,
  top: number,
  width: number,
): void {
  const text = `${className} ${Math.round(confidence * 100)} %`;
  const size = context.measureText(text).width + 12;
  const x = Math.max(0, Math.min(left - 1, width - size));
  const y = Math.max(0, top - 20);
  context.fillStyle = colour;
  context.fillRect(x, y, size, 20);
  context.fillStyle = "#160805";
  context.fillText(text, x + 6, y + 14.5);
}

function area({ box }: Annotation): number {
  return (box[2] - box[0]) * (box[3] - box[1]);
}
