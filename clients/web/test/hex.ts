import type { Bytes } from "../src/bytes.ts";

/** Bytes of hexadecimal digits; blanks between them do not matter. */
export function unhex(digits: string): Bytes {
  return Uint8Array.from(digits.replace(/\s+/g, "").match(/../g) ?? [], (pair) => parseInt(pair, 16));
}
