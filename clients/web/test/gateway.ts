/** A gateway in a few lines, for tests: opens with the library's receiving end, answers what it is told to. */
import { Aes128Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";

import { ascii, concat, Reader, uint16, varint, type Bytes } from "../src/bytes.ts";
import type { Headers, InnerRequest } from "../src/messages.ts";

export interface Reply {
  readonly status?: number;
  readonly headers?: Headers;
  readonly body: unknown;
}

const suite = new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes128Gcm() });
const sized = (bytes: Bytes) => concat(varint(bytes.length), bytes);
const text = (bytes: Bytes) => new TextDecoder().decode(bytes);

export class Gateway {
  /** What was called, in order. */
  readonly calls: string[] = [];
  readonly requests: InnerRequest[] = [];
  readonly outer: Bytes[] = [];
  #keys: CryptoKeyPair | undefined;
  #id = 0;

  constructor(private readonly reply: (request: InnerRequest, count: number) => Reply) {}

  /** Change the key: what is sealed with the one before is refused as the RFC says. */
  async rotate(): Promise<Bytes> {
    this.#keys = await suite.kem.generateKeyPair();
    this.#id += 1;
    return this.config();
  }

  async config(): Promise<Bytes> {
    const publicKey = new Uint8Array(await suite.kem.serializePublicKey(this.#keys!.publicKey));
    return concat(Uint8Array.of(this.#id), uint16(0x20), publicKey, uint16(4), uint16(1), uint16(1));
  }

  readonly fetch = (async (url: URL, init: RequestInit) => {
    this.calls.push(`${init.method ?? "GET"} ${url.pathname}`);
    if (url.pathname === "/ohttp-keys") {
      const config = await this.config();
      return new Response(concat(uint16(config.length), config), { headers: { "content-type": "application/ohttp-keys" } });
    }
    const sealed = new Uint8Array(await (init.body as Blob).arrayBuffer());
    this.outer.push(sealed);
    if (sealed[0] !== this.#id) {
      const type = "https://iana.org/assignments/http-problem-types#ohttp-key";
      const headers = { "content-type": "application/problem+json" };
      return new Response(JSON.stringify({ type, title: "No such key", status: 400 }), { status: 400, headers });
    }
    const chunked = new Headers(init.headers).get("content-type") === "message/ohttp-chunked-req";
    const answer = await this.#exchange(sealed, chunked);
    return new Response(answer, { headers: { "content-type": `message/ohttp-${chunked ? "chunked-" : ""}res` } });
  }) as unknown as typeof fetch;

  async #exchange(sealed: Bytes, chunked: boolean): Promise<Bytes> {
    const label = `message/bhttp ${chunked ? "chunked " : ""}`;
    const reader = new Reader(sealed, () => new Error("cut"));
    const head = reader.take(7);
    const enc = reader.take(32);
    const info = concat(ascii(`${label}request`), Uint8Array.of(0), head);
    const context = await suite.createRecipientContext({ recipientKey: this.#keys!, enc, info });
    const pieces: ArrayBuffer[] = [];
    for (let size = chunked ? reader.varint() : 0; size > 0; size = reader.varint()) {
      pieces.push(await context.open(reader.take(size)));
    }
    pieces.push(await context.open(reader.rest(), chunked ? ascii("final") : new Uint8Array()));
    const request = decodeRequest(concat(...pieces.map((piece) => new Uint8Array(piece))));
    this.requests.push(request);
    const { status = 200, headers = [], body } = this.reply(request, this.requests.length);
    const lines = headers.flatMap(([name, value]) => [sized(ascii(name)), sized(ascii(value))]);
    const content = sized(ascii(JSON.stringify(body)));
    const plain = concat(varint(1), varint(status), sized(concat(...lines)), content, new Uint8Array(100));
    const nonce = crypto.getRandomValues(new Uint8Array(16));
    const secret = await context.export(ascii(`${label}response`), 16);
    const ikm = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveBits"]);
    const derive = (what: string, bits: number) =>
      crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt: concat(enc, nonce), info: ascii(what) }, ikm, bits);
    const key = await crypto.subtle.importKey("raw", await derive("key", 128), "AES-GCM", false, ["encrypt"]);
    const algorithm = { name: "AES-GCM", iv: await derive("nonce", 96), additionalData: ascii(chunked ? "final" : "") };
    const opened = new Uint8Array(await crypto.subtle.encrypt(algorithm, key, plain));
    return concat(nonce, ...(chunked ? [varint(0)] : []), opened);
  }
}

export function decodeRequest(bytes: Bytes): InnerRequest {
  const reader = new Reader(bytes, () => new Error("cut"));
  if (reader.varint() !== 0) throw new Error("not a request");
  const [method, scheme, authority, target] = Array.from({ length: 4 }, () => text(reader.sized())) as [string, string, string, string];
  const lines = new Reader(reader.sized(), () => new Error("cut"));
  const headers: [string, string][] = [];
  while (lines.left > 0) headers.push([text(lines.sized()), text(lines.sized())]);
  const body = reader.sized();
  if (reader.rest().some((byte) => byte !== 0)) throw new Error("not padding");
  return { method, scheme, authority, target, headers, body };
}
