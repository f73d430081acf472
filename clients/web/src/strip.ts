/**
 * What the browser's own encoder wrote, less everything that is not picture: it adds a colour profile, for one. The canvas
 * is sRGB, which is what a picture without a profile is taken for. Only ever given a JPEG or PNG that was made just now.
 */

import { sniff } from "./inspect.ts";
import type { Bytes } from "./bytes.ts";

const CRITICAL = new Set(["IHDR", "PLTE", "IDAT", "IEND"]);

/** The parts to keep, in order. */
export function strip(bytes: Bytes): Bytes[] {
  return sniff(bytes) === "image/png" ? png(bytes) : jpeg(bytes);
}

/** All but application segments (of which JFIF's and Adobe's say how colours are coded) and comments. */
function jpeg(bytes: Bytes): Bytes[] {
  const kept = [bytes.subarray(0, 2)];
  let at = 2;
  while (bytes[at + 1] !== 0xda && at + 4 <= bytes.length) {
    const marker = bytes[at + 1]!;
    const ends = at + 2 + bytes[at + 2]! * 256 + bytes[at + 3]!;
    const told = marker === 0xfe || (marker > 0xe0 && marker < 0xf0 && marker !== 0xee);
    if (!told) kept.push(bytes.subarray(at, ends));
    at = ends;
  }
  return [...kept, bytes.subarray(at)];
}

/** The critical chunks. */
function png(bytes: Bytes): Bytes[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const kept = [bytes.subarray(0, 8)];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const ends = at + 12 + view.getUint32(at);
    if (CRITICAL.has(String.fromCharCode(...bytes.subarray(at + 4, at + 8)))) kept.push(bytes.subarray(at, ends));
    at = ends;
  }
  return kept;
}
