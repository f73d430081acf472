/** Small things that every codec here needs: joining, numbers of variable length, hexadecimal, digests. */

export type Bytes = Uint8Array<ArrayBuffer>;

const encoder = new TextEncoder();

/** ASCII text as bytes. */
export function ascii(text: string): Bytes {
  return encoder.encode(text);
}

export function concat(...parts: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function uint16(value: number): Bytes {
  return Uint8Array.of(value >> 8, value & 0xff);
}

/** A variable-length integer (RFC 9000, section 16) in its shortest form. value: below 2^53. */
export function varint(value: number): Bytes {
  if (value < 0x40) return Uint8Array.of(value);
  if (value < 0x4000) return Uint8Array.of(0x40 | (value >> 8), value & 0xff);
  const wide = value >= 0x40000000;
  const view = new DataView(new ArrayBuffer(wide ? 8 : 4));
  if (wide) view.setBigUint64(0, BigInt(value) | (0b11n << 62n));
  else view.setUint32(0, value | 0x80000000);
  return new Uint8Array(view.buffer);
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

/** SHA-256 in hexadecimal. */
export async function sha256(bytes: Bytes): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
}

/** Reads a message from its start to its end. `fail` makes the error for a message that ends early. */
export class Reader {
  #at = 0;

  constructor(
    readonly bytes: Bytes,
    private readonly fail: () => Error,
  ) {}

  get left(): number {
    return this.bytes.length - this.#at;
  }

  /** The next bytes, without copying them. */
  take(size: number): Bytes {
    if (size > this.left) throw this.fail();
    this.#at += size;
    return this.bytes.subarray(this.#at - size, this.#at);
  }

  uint(size: 1 | 2): number {
    return this.take(size).reduce((value, byte) => value * 256 + byte, 0);
  }

  varint(): number {
    const first = this.uint(1);
    let value = first & 0x3f;
    for (const byte of this.take((1 << (first >> 6)) - 1)) value = value * 256 + byte;
    if (value > Number.MAX_SAFE_INTEGER) throw this.fail();
    return value;
  }

  /** Bytes that stand behind their own length. */
  sized(): Bytes {
    return this.take(this.varint());
  }

  rest(): Bytes {
    return this.take(this.left);
  }
}
