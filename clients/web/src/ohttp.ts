/** Oblivious HTTP, the client's end: whole messages (RFC 9458) and chunked ones (draft-ietf-ohai-chunked-ohttp-08). */

import type { SenderContext } from "@hpke/core";

import { decodeResponse, encodeRequest } from "./bhttp.ts";
import { ascii, concat, Reader, uint16, varint, type Bytes } from "./bytes.ts";
import { SealBroken } from "./errors.ts";
import { sender, SIZES } from "./hpke.ts";
import type { KeyConfig } from "./keys.ts";
import type { InnerRequest, Outgoing, Wrapper } from "./messages.ts";
import { padded } from "./padding.ts";

export const KEYS_PATH = "/ohttp-keys";
export const KEYS_TYPE = "application/ohttp-keys";
export const KEY_PROBLEM = "https://iana.org/assignments/http-problem-types#ohttp-key";
export const DATE_PROBLEM = "https://iana.org/assignments/http-problem-types#date";
const GATEWAY_PATH = "/ohttp";
/** Bytes of plaintext in a chunk: the most that every receiver must take (section 3 of the draft). */
export const CHUNK_SIZE = 16 * 1024;
const FINAL = ascii("final");
const NONE = new Uint8Array();

/** Media types and labels of a kind of message. */
const WHOLE = {
  request: "message/ohttp-req",
  response: "message/ohttp-res",
  requestLabel: "message/bhttp request",
  responseLabel: "message/bhttp response",
};
const CHUNKED = {
  request: "message/ohttp-chunked-req",
  response: "message/ohttp-chunked-res",
  requestLabel: "message/bhttp chunked request",
  responseLabel: "message/bhttp chunked response",
};
type Kind = typeof WHOLE;

/** chunked: whether requests travel in chunks, and answers too. */
export class OhttpWrapper implements Wrapper {
  readonly protocol = "ohttp";

  constructor(
    private readonly config: KeyConfig,
    private readonly chunked = false,
  ) {}

  get sealedWith(): string {
    return this.config.fingerprint;
  }

  async wrap(request: InnerRequest): Promise<Outgoing> {
    const plain = padded(encodeRequest(request));
    const { parts, answer } = this.chunked
      ? await sealChunks(this.config, slices(plain, CHUNK_SIZE))
      : await sealWhole(this.config, plain);
    const kind = this.chunked ? CHUNKED : WHOLE;
    return {
      target: GATEWAY_PATH,
      headers: { "content-type": kind.request },
      body: new Blob(parts),
      answerType: kind.response,
      open: async (sealed) => decodeResponse(await (this.chunked ? answer.chunks(sealed) : answer.whole(sealed))),
    };
  }
}

/** A sealed request, in pieces, and what opens its answer. */
export interface Encapsulated {
  readonly parts: Bytes[];
  readonly answer: Answer;
}

/** A request in one piece (RFC 9458, section 4.3). ephemeral, portable: see `sender`. */
export async function sealWhole(
  config: KeyConfig,
  plain: Bytes,
  ephemeral?: CryptoKeyPair,
  portable?: boolean,
): Promise<Encapsulated> {
  const [head, context] = await begin(WHOLE, config, ephemeral, portable);
  return { parts: [head, await seal(context, plain)], answer: new Answer(WHOLE, config, context) };
}

/** A request in chunks (section 6.1 of the draft). */
export async function sealChunks(
  config: KeyConfig,
  chunks: readonly Bytes[],
  ephemeral?: CryptoKeyPair,
): Promise<Encapsulated> {
  const [head, context] = await begin(CHUNKED, config, ephemeral);
  const parts = [head];
  for (const chunk of chunks.slice(0, -1)) {
    const sealed = await seal(context, chunk);
    parts.push(varint(sealed.length), sealed);
  }
  parts.push(varint(0), await seal(context, chunks.at(-1) ?? NONE, FINAL));
  return { parts, answer: new Answer(CHUNKED, config, context) };
}

/** Opens the answer to one request. Both methods throw SealBroken, which never says why. */
class Answer {
  readonly #kind: Kind;
  readonly #config: KeyConfig;
  readonly #context: SenderContext;

  constructor(kind: Kind, config: KeyConfig, context: SenderContext) {
    [this.#kind, this.#config, this.#context] = [kind, config, context];
  }

  /** An answer in one piece (RFC 9458, section 4.4). */
  async whole(sealed: Bytes): Promise<Bytes> {
    const [reader, open] = await this.#begin(sealed);
    return open(reader.rest(), NONE);
  }

  /** An answer in chunks (section 6.2 of the draft). Nothing is returned unless the final chunk is authentic. */
  async chunks(sealed: Bytes): Promise<Bytes> {
    const [reader, open] = await this.#begin(sealed);
    const pieces: Bytes[] = [];
    for (let size = reader.varint(); size > 0; size = reader.varint()) pieces.push(await open(reader.take(size), NONE));
    pieces.push(await open(reader.rest(), FINAL));
    return concat(...pieces);
  }

  async #begin(sealed: Bytes): Promise<[Reader, (piece: Bytes, aad: Bytes) => Promise<Bytes>]> {
    const sizes = SIZES[this.#config.aead];
    const nonceSize = Math.max(sizes.key, sizes.nonce);
    const reader = new Reader(sealed, () => new SealBroken());
    const nonce = reader.take(nonceSize);
    const secret = await this.#context.export(ascii(this.#kind.responseLabel), nonceSize);
    const salt = concat(new Uint8Array(this.#context.enc), nonce);
    // WebCrypto's HKDF is Extract and Expand at once.
    const prk = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveBits"]);
    const derive = (label: string, size: number) =>
      crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info: ascii(label) }, prk, size * 8);
    const key = await crypto.subtle.importKey("raw", await derive("key", sizes.key), "AES-GCM", false, ["decrypt"]);
    const base = new Uint8Array(await derive("nonce", sizes.nonce));
    let counter = 0;
    const open = async (piece: Bytes, additionalData: Bytes) => {
      const iv = xorCounter(base, counter++);
      try {
        return new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData }, key, piece));
      } catch {
        throw new SealBroken();
      }
    };
    return [reader, open];
  }
}

/** The head of a request and the context that seals what follows it. */
async function begin(
  kind: Kind,
  config: KeyConfig,
  ephemeral?: CryptoKeyPair,
  portable?: boolean,
): Promise<[Bytes, SenderContext]> {
  const head = concat(Uint8Array.of(config.id), uint16(config.kem), uint16(config.kdf), uint16(config.aead));
  const info = concat(ascii(kind.requestLabel), Uint8Array.of(0), head);
  const context = await sender(config, info, ephemeral, portable);
  return [concat(head, new Uint8Array(context.enc)), context];
}

async function seal(context: SenderContext, plain: Bytes, aad: Bytes = NONE): Promise<Bytes> {
  return new Uint8Array(await context.seal(plain, aad));
}

/** base XOR counter, as big-endian numbers of the same length. counter: below 2^32. */
function xorCounter(base: Bytes, counter: number): Bytes {
  const nonce = base.slice();
  const view = new DataView(nonce.buffer);
  view.setUint32(nonce.length - 4, view.getUint32(nonce.length - 4) ^ counter);
  return nonce;
}

function slices(bytes: Bytes, size: number): Bytes[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
}
