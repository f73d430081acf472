/**
 * An Oblivious HTTP client of other people's parts, at the disposal of tests in Python: HPKE is `hpke`, binary HTTP is
 * `bhttp-js`, the rest is Node.js. What stands here is the framing of RFC 9458 and of its chunked variant, written from
 * the documents. Takes jobs as JSON on standard input, gives a list of results; bytes are in base64.
 */

import { createDecipheriv, createHmac } from "node:crypto";
import { BHttpDecoder, BHttpEncoder } from "bhttp-js";
import * as HPKE from "hpke";

const X25519 = 0x0020;
const HKDF_SHA256 = 1;
const AEADS = {
  1: { hpke: HPKE.AEAD_AES_128_GCM, cipher: "aes-128-gcm", key: 16 },
  2: { hpke: HPKE.AEAD_AES_256_GCM, cipher: "aes-256-gcm", key: 32 },
};
const CHUNK = 16384;
const text = (string) => new TextEncoder().encode(string);

/** RFC 9458, section 3.2: the first configuration with X25519 and the wanted AEAD. */
function keyFrom(document, aead) {
  const list = Buffer.from(document);
  for (let at = 0; at < list.length; at += 2 + list.readUInt16BE(at)) {
    const config = list.subarray(at + 2, at + 2 + list.readUInt16BE(at));
    if (config.readUInt16BE(1) !== X25519) continue;
    const suites = config.subarray(37);
    for (let i = 0; i < suites.length; i += 4)
      if (suites.readUInt16BE(i) === HKDF_SHA256 && suites.readUInt16BE(i + 2) === aead)
        return { number: config[0], publicKey: new Uint8Array(config.subarray(3, 35)) };
  }
  throw new Error("no key");
}

function varint(value) {
  if (value < 64) return Buffer.from([value]);
  const bytes = Buffer.alloc(value < 16384 ? 2 : 4);
  if (bytes.length === 2) bytes.writeUInt16BE(value | 0x4000);
  else bytes.writeUInt32BE((value | 0x80000000) >>> 0);
  return bytes;
}

/** [value, bytes it took] */
function readVarint(data) {
  const size = 1 << (data[0] >> 6);
  let value = data[0] & 0x3f;
  for (let i = 1; i < size; i++) value = value * 256 + data[i];
  return [value, size];
}

/** bhttp-js leaves the query out: put the whole target in place of the path. */
function withQuery(message, target) {
  const sized = (string) => Buffer.concat([varint(string.length), text(string)]);
  const path = sized(target.split("?")[0]);
  const at = message.indexOf(path);
  return Buffer.concat([message.subarray(0, at), sized(target), message.subarray(at + path.length)]);
}

async function seal({ url, path, method, headers, body, aead, chunked }) {
  const keys = await (await fetch(`${url}/ohttp-keys`)).arrayBuffer();
  const key = keyFrom(keys, aead);
  const head = Buffer.alloc(7);
  head[0] = key.number;
  head.writeUInt16BE(X25519, 1);
  head.writeUInt16BE(HKDF_SHA256, 3);
  head.writeUInt16BE(aead, 5);
  const label = chunked ? "message/bhttp chunked request" : "message/bhttp request";
  const suite = new HPKE.CipherSuite(HPKE.KEM_DHKEM_X25519_HKDF_SHA256, HPKE.KDF_HKDF_SHA256, AEADS[aead].hpke);
  const info = Buffer.concat([text(label), Buffer.from([0]), head]);
  const { encapsulatedSecret: enc, ctx } = await suite.SetupSender(await suite.DeserializePublicKey(key.publicKey), { info });
  const request = new Request(`${url}${path}`, { method, headers, body: body && Buffer.from(body, "base64") });
  const message = withQuery(Buffer.from(await new BHttpEncoder().encodeRequest(request)), path);
  const parts = [head, enc];
  if (!chunked) parts.push(await ctx.Seal(message));
  else {
    let at = 0;
    for (; at + CHUNK < message.length; at += CHUNK) {
      const sealed = await ctx.Seal(message.subarray(at, at + CHUNK));
      parts.push(varint(sealed.length), sealed);
    }
    parts.push(varint(0), await ctx.Seal(message.subarray(at), text("final")));
  }
  return { ctx, enc, envelope: Buffer.concat(parts) };
}

/** RFC 9458, section 4.4, and the chunks of its variant. */
async function open(answer, { ctx, enc, aead, chunked }) {
  const size = AEADS[aead].key;
  const label = chunked ? "message/bhttp chunked response" : "message/bhttp response";
  const secret = await ctx.Export(text(label), size);
  const nonce = answer.subarray(0, size);
  const prk = createHmac("sha256", Buffer.concat([enc, nonce])).update(secret).digest();
  const expand = (name, length) =>
    createHmac("sha256", prk).update(Buffer.concat([text(name), Buffer.from([1])])).digest().subarray(0, length);
  const key = expand("key", size);
  const base = expand("nonce", 12);
  let counter = 0;
  const unseal = (sealed, aad = "") => {
    const own = Buffer.from(base);
    own.writeUInt32BE((own.readUInt32BE(8) ^ counter++) >>> 0, 8);
    const cipher = createDecipheriv(AEADS[aead].cipher, key, own, { authTagLength: 16 });
    cipher.setAAD(text(aad));
    cipher.setAuthTag(sealed.subarray(-16));
    return Buffer.concat([cipher.update(sealed.subarray(0, -16)), cipher.final()]);
  };
  let rest = answer.subarray(size);
  if (!chunked) return { message: unseal(rest), chunks: 1 };
  const pieces = [];
  for (;;) {
    const [length, took] = readVarint(rest);
    rest = rest.subarray(took);
    if (length === 0) break;
    pieces.push(unseal(rest.subarray(0, length)));
    rest = rest.subarray(length);
  }
  pieces.push(unseal(rest, "final"));
  return { message: Buffer.concat(pieces), chunks: pieces.length };
}

async function exchange(job) {
  const sealed = await seal(job);
  const kind = job.chunked ? "chunked-" : "";
  const response = await fetch(`${job.url}/ohttp`, {
    method: "POST",
    headers: { "content-type": `message/ohttp-${kind}req` },
    body: sealed.envelope,
  });
  const outer = { status: response.status, type: response.headers.get("content-type"), sent: sealed.envelope.length };
  const answer = Buffer.from(await response.arrayBuffer());
  if (outer.status !== 200) return { outer, body: answer.toString("base64") };
  const { message, chunks } = await open(answer, { ...sealed, ...job });
  const inner = new BHttpDecoder().decodeResponse(new Uint8Array(message));
  const body = Buffer.from(await inner.arrayBuffer()).toString("base64");
  return { outer, chunks, status: inner.status, type: inner.headers.get("content-type"), body };
}

let input = "";
for await (const piece of process.stdin) input += piece;
const results = [];
for (const job of JSON.parse(input)) results.push(await exchange(job));
process.stdout.write(JSON.stringify(results));
