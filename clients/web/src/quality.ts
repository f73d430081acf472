/** How well a picture can be looked at: numbers, and what they are taken to mean. Knows nothing of browsers. */

/** sharpness: variance of the Laplacian of 8-bit luma. dark, bright: shares of pixels that are clipped, 0 to 1. */
export interface Quality {
  readonly sharpness: number;
  readonly dark: number;
  readonly bright: number;
}

/** Longest side, in pixels, at which pictures are measured: the numbers depend on it. */
export const MEASURED_SIDE = 512;
const CLIPPED_DARK = 8;
const CLIPPED_BRIGHT = 247;

/** rgba: width x height pixels of four bytes, row by row. */
export function measure(rgba: Uint8ClampedArray, width: number, height: number): Quality {
  const luma = new Float32Array(width * height);
  let [dark, bright] = [0, 0];
  for (let i = 0; i < luma.length; i++) {
    const value = 0.299 * rgba[4 * i]! + 0.587 * rgba[4 * i + 1]! + 0.114 * rgba[4 * i + 2]!; // ITU-R BT.601
    luma[i] = value;
    if (value <= CLIPPED_DARK) dark++;
    if (value >= CLIPPED_BRIGHT) bright++;
  }
  return { sharpness: laplacianVariance(luma, width, height), dark: dark / luma.length, bright: bright / luma.length };
}

/** Variance of the 4-neighbour Laplacian over the inner pixels; 0 when there are none. */
function laplacianVariance(luma: Float32Array, width: number, height: number): number {
  let [sum, squares, count] = [0, 0, 0];
  for (let y = 1; y < height - 1; y++) {
    for (let i = y * width + 1; i < (y + 1) * width - 1; i++) {
      const value = luma[i - 1]! + luma[i + 1]! + luma[i - width]! + luma[i + width]! - 4 * luma[i]!;
      sum += value;
      squares += value * value;
      count++;
    }
  }
  return count === 0 ? 0 : squares / count - (sum / count) ** 2;
}
