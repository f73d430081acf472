/**
 * From a file that somebody chose to a clean picture: checked, decoded, turned upright, and encoded anew from its pixels
 * alone, so that no metadata leaves. All of it happens in the browser.
 */

import { BadPicture } from "./errors.ts";
import { inspect, sniff, type FileFacts } from "./inspect.ts";
import { measure, MEASURED_SIDE, type Quality } from "./quality.ts";
import { strip } from "./strip.ts";

/** maxBytes: of a file. maxPixels: width x height. */
export interface Limits {
  readonly maxBytes: number;
  readonly maxPixels: number;
}

/** The gateway's own limits as it ships. */
export const LIMITS: Limits = { maxBytes: 20 * 1024 * 1024, maxPixels: 40_000_000 };

/** Something that was looked at. value: short, with the number. detail: what to do about a warning. */
export interface Check {
  readonly name: "File" | "Size" | "Sharpness" | "Exposure" | "Metadata" | "Leaves as";
  readonly level: "pass" | "warn";
  readonly value: string;
  readonly detail?: string;
}

/** file: what may be sent. canvas: the same picture, to look at. */
export interface Prepared {
  readonly file: Blob;
  readonly canvas: HTMLCanvasElement;
  readonly quality: Quality;
  readonly checks: readonly Check[];
}

const NAMES = { "image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WebP" } as const;
const ACCEPTED = "Send a JPEG, PNG or WebP picture.";
const JPEG_QUALITY = 0.95;
/** On the photographs and aerial pictures of data/, sharp ones have 400 to 8,600; blurred by 2 pixels at most 14. */
const LEAST_SHARPNESS = 60;
const MOST_CLIPPED = 0.4;
const LEAST_SIDE = 240;
/** What every browser can hold in one canvas: pictures are shrunk to it where a larger one does not work. */
const SAFE_CANVAS_PIXELS = 16_777_216;

/** Throws BadPicture for what must not be sent. Warnings are among `checks`. */
export async function prepare(file: Blob, limits: Limits = LIMITS): Promise<Prepared> {
  const facts = await checkedFile(file, limits);
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => {
    throw new BadPicture("The picture does not decode", `It begins like ${NAMES[facts.type]} but cannot be read as such.`);
  });
  try {
    const { canvas, encoded } = await cleaned(bitmap, facts.type === "image/png", limits);
    const quality = qualityOf(bitmap);
    return { file: encoded, canvas, quality, checks: checksOf(file, facts, encoded, canvas, quality) };
  } finally {
    bitmap.close();
  }
}

/** What can be found wrong before anything is decoded. */
async function checkedFile(file: Blob, limits: Limits): Promise<FileFacts> {
  if (file.size === 0) throw new BadPicture("The file is empty", ACCEPTED);
  if (file.size > limits.maxBytes) {
    const most = bytesText(limits.maxBytes);
    throw new BadPicture("The file is too large", `It has ${bytesText(file.size)}; at most ${most} are taken.`);
  }
  const bytes = new Uint8Array(await file.arrayBuffer());
  const type = sniff(bytes);
  if (!type) throw new BadPicture("The file is not a supported picture", ACCEPTED);
  const claimed = file.type === "image/jpg" ? "image/jpeg" : file.type;
  if (claimed && claimed !== type) {
    throw new BadPicture("The file is not what it says", `It claims to be ${claimed}, its bytes are ${NAMES[type]}.`);
  }
  const facts = inspect(bytes);
  if (!facts?.whole) throw new BadPicture("The picture is broken", `The ${NAMES[type]} data ends early.`);
  if (facts.width * facts.height > limits.maxPixels) {
    const most = `${Math.round(limits.maxPixels / 1e6)} million`;
    throw new BadPicture("The picture has too many pixels", `It is ${sizeText(facts)}; at most ${most} are taken.`);
  }
  return facts;
}

/** The pixels alone, upright, on white: as a canvas and as a file. */
async function cleaned(
  bitmap: ImageBitmap,
  lossless: boolean,
  limits: Limits,
): Promise<{ canvas: HTMLCanvasElement; encoded: Blob }> {
  const shrunk = Math.sqrt(SAFE_CANVAS_PIXELS / (bitmap.width * bitmap.height));
  for (const scale of shrunk < 1 ? [1, shrunk] : [1]) {
    const canvas = drawn(bitmap, scale);
    for (const type of lossless ? ["image/png", "image/jpeg"] : ["image/jpeg"]) {
      const encoded = await new Promise<Blob | null>((done) => canvas.toBlob(done, type, JPEG_QUALITY));
      if (encoded?.type !== type || encoded.size > limits.maxBytes) continue;
      // Encoders add a colour profile and more of their own.
      const bare = strip(new Uint8Array(await encoded.arrayBuffer()));
      return { canvas, encoded: new Blob(bare, { type }) };
    }
  }
  throw new BadPicture("The picture is too large", "This browser cannot encode it within the limits. Send a smaller one.");
}

function drawn(bitmap: ImageBitmap, scale: number): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.floor(bitmap.width * scale));
  canvas.height = Math.max(1, Math.floor(bitmap.height * scale));
  const context = canvas.getContext("2d", { alpha: false });
  if (!context) return canvas;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function qualityOf(bitmap: ImageBitmap): Quality {
  const scale = Math.min(1, MEASURED_SIDE / Math.max(bitmap.width, bitmap.height));
  const small = drawn(bitmap, scale);
  const pixels = small.getContext("2d")?.getImageData(0, 0, small.width, small.height);
  return measure(pixels?.data ?? new Uint8ClampedArray(), pixels?.width ?? 0, pixels?.height ?? 0);
}

function checksOf(
  file: Blob,
  facts: FileFacts,
  encoded: Blob,
  canvas: HTMLCanvasElement,
  { sharpness, dark, bright }: Quality,
): Check[] {
  const warn = (bad: boolean, detail: string) => (bad ? ({ level: "warn", detail } as const) : ({ level: "pass" } as const));
  const small = Math.min(canvas.width, canvas.height) < LEAST_SIDE;
  const clipped = dark > MOST_CLIPPED ? "Much of it is black." : "Much of it is white.";
  const percent = (share: number) => `${Math.round(share * 100)} %`;
  return [
    { name: "File", level: "pass", value: `${NAMES[facts.type]}, ${bytesText(file.size)}` },
    { name: "Size", value: sizeText(canvas), ...warn(small, "Small: little can be found on it.") },
    {
      name: "Sharpness",
      value: String(Math.round(sharpness)),
      ...warn(sharpness < LEAST_SHARPNESS, `Below ${LEAST_SHARPNESS}: it looks blurred.`),
    },
    {
      name: "Exposure",
      value: `${percent(dark)} black, ${percent(bright)} white`,
      ...warn(Math.max(dark, bright) > MOST_CLIPPED, clipped),
    },
    { name: "Metadata", level: "pass", value: facts.metadata.length > 0 ? `removed: ${facts.metadata.join(", ")}` : "none" },
    { name: "Leaves as", level: "pass", value: `${NAMES[encoded.type as keyof typeof NAMES]}, ${bytesText(encoded.size)}, sealed` },
  ];
}

/** Bytes for people: 812 kB, 2.3 MB. */
export function bytesText(bytes: number): string {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function sizeText({ width, height }: { width: number; height: number }): string {
  return `${width} × ${height}`;
}
