import { concat, type Bytes } from "./bytes.ts";

/** A binary HTTP message with the zero bytes behind it that hide its size. */
export function padded(message: Bytes): Bytes {
  return concat(message, new Uint8Array(paddedSize(message.length) - message.length));
}

/**
 * How far a message is padded, so that its size tells little: Padmé (Nikitin et al., PETS 2019), at most 12 % more, and
 * nothing is sent smaller than `least` bytes.
 */
export function paddedSize(size: number, least = 1024): number {
  if (size <= least) return least;
  const exponent = Math.floor(Math.log2(size));
  const step = 2 ** (exponent - Math.floor(Math.log2(exponent)) - 1);
  return Math.ceil(size / step) * step;
}
