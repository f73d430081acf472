/** Oblivious HTTP against published vectors: RFC 9458, appendix A, and the example of the chunked draft. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { decodeResponse } from "../src/bhttp.ts";
import { concat, hex, type Bytes } from "../src/bytes.ts";
import { SealBroken, Untrusted } from "../src/errors.ts";
import { suiteFor } from "../src/hpke.ts";
import { choose, isTrustworthy, parseKeys, type KeyConfig } from "../src/keys.ts";
import { sealChunks, sealWhole } from "../src/ohttp.ts";
import { unhex } from "./hex.ts";

const PLAIN = unhex("00034745540568747470730b6578616d706c652e636f6d012f");
const WHOLE = {
  config: "01002031e1f05a740102115220e9af918f738674aec95f54db6e04eb705aae8e79815500080001000100010003",
  secret: "bc51d5e930bda26589890ac7032f70ad12e4ecb37abb1b65b1256c9c48999c73",
  public: "4b28f881333e7c164ffc499ad9796f877f4e1051ee6d31bad19dec96c208b472",
  request: `010020000100014b28f881333e7c164ffc499ad9796f877f4e1051ee6d31bad1
    9dec96c208b4726374e469135906992e1268c594d2a10c695d858c40a026e796 5e7d86b83dd440b2c0185204b4d63525`,
  response: "c789e7151fcba46158ca84b04464910d86f9013e404feea014e7be4a441f234f857fbd",
};
const CHUNKED = {
  config: "010020668eb21aace159803974a4c67f08b4152d29bed10735fd08f98ccdd6fe09570800080001000100010003",
  secret: "b26d565f3f875ed480d1abced3d665159650c99174fd0b124ac4bda0c64ae324",
  public: "8811eb457e100811c40a0aa71340a1b81d804bb986f736f2f566a7199761a032",
  request: `01002000010001 8811eb457e100811c40a0aa71340a1b81d804bb986f736f2f566a7199761a032
    1c2ad24942d4d692563012f2980c8fef437a336b9b2fc938ef77a5834f
    1d2e33d8fd25577afe31bd1c79d094f76b6250ae6549b473ecd950501311 001c6c1395d0ef7c1022297966307b8a7f`,
  response: `bcce7f4cb921309ba5d62edf1769ef09 1179bf1cc87fa0e2c02de4546945aa3d1e48
    12b348b5bd4c594c16b6170b07b475845d1f32 00ed9d8a796617a5b27265f4d73247f639`,
};

/** The configurations behind their lengths, as application/ohttp-keys has them. */
function listed(...configs: string[]): Bytes {
  return concat(...configs.map(unhex).flatMap((one) => [Uint8Array.of(one.length >> 8, one.length & 255), one]));
}

async function configOf(digits: string): Promise<KeyConfig> {
  return choose(await parseKeys(listed(digits)), undefined);
}

async function pair(vector: typeof WHOLE, config: KeyConfig, portable: boolean): Promise<CryptoKeyPair> {
  const { kem } = await suiteFor(config.aead, portable);
  const privateKey = await kem.deserializePrivateKey(unhex(vector.secret));
  return { privateKey, publicKey: await kem.deserializePublicKey(unhex(vector.public)) };
}

for (const portable of [false, true]) {
  const which = portable ? "the library's X25519" : "WebCrypto's X25519";

  test(`RFC 9458, appendix A, with ${which}`, async () => {
    const config = await configOf(WHOLE.config);
    const { parts, answer } = await sealWhole(config, PLAIN, await pair(WHOLE, config, portable), portable);
    assert.equal(hex(concat(...parts)), hex(unhex(WHOLE.request)));
    const opened = await answer.whole(unhex(WHOLE.response));
    assert.equal(hex(opened), "0140c8");
    assert.equal(decodeResponse(opened).status, 200);
  });
}

test("the chunked draft's example", async () => {
  const config = await configOf(CHUNKED.config);
  const chunks = [PLAIN.subarray(0, 12), PLAIN.subarray(12), new Uint8Array()];
  const { parts, answer } = await sealChunks(config, chunks, await pair(CHUNKED, config, false));
  assert.equal(hex(concat(...parts)), hex(unhex(CHUNKED.request)));
  assert.equal(hex(await answer.chunks(unhex(CHUNKED.response))), "0140c8");
});

test("an answer that was changed or cut anywhere does not open", async () => {
  const config = await configOf(WHOLE.config);
  const { answer } = await sealWhole(config, PLAIN, await pair(WHOLE, config, false), false);
  const whole = unhex(WHOLE.response);
  for (let i = 0; i < whole.length; i++) {
    await assert.rejects(answer.whole(whole.with(i, whole[i]! ^ 1) as Bytes), SealBroken, `changed at ${i}`);
    await assert.rejects(answer.whole(whole.slice(0, i)), SealBroken, `cut to ${i}`);
  }
  const chunkedConfig = await configOf(CHUNKED.config);
  const chunked = await sealChunks(chunkedConfig, [PLAIN], await pair(CHUNKED, chunkedConfig, false));
  const sealed = unhex(CHUNKED.response);
  for (let i = 0; i < sealed.length; i++) {
    await assert.rejects(chunked.answer.chunks(sealed.with(i, sealed[i]! ^ 1) as Bytes), SealBroken, `changed at ${i}`);
    await assert.rejects(chunked.answer.chunks(sealed.slice(0, i)), SealBroken, `cut to ${i}`);
  }
  const [nonce, first, second, last] = [sealed.slice(0, 16), sealed.slice(16, 34), sealed.slice(34, 53), sealed.slice(53)];
  await assert.rejects(chunked.answer.chunks(concat(nonce, second, first, last)), SealBroken);
  await assert.rejects(chunked.answer.chunks(concat(nonce, last)), SealBroken);
});

test("keys: unknown KEMs and suites are passed over, the first usable one is taken, broken lists are refused", async () => {
  const hybrid = "07647a" + "ab".repeat(1216) + "000400010001";
  const chacha = WHOLE.config.slice(0, 70) + "000400010003";
  const second = "02" + WHOLE.config.slice(2, 70) + "000400010002";
  const configs = await parseKeys(listed(hybrid, chacha, second, WHOLE.config));
  assert.deepEqual(configs.map(({ id, aead }) => [id, aead]), [[2, 2], [1, 1]]);
  const other = "00".repeat(32);
  assert.equal(configs[1]!.fingerprint, createHash("sha256").update(unhex(WHOLE.config)).digest("hex"));
  assert.equal(choose(configs, undefined), configs[0]);
  assert.equal(choose(configs, [configs[1]!.fingerprint]), configs[1]);
  assert.throws(() => choose(configs, [other]), Untrusted);
  assert.throws(() => choose([], undefined), Untrusted);
  const whole = listed(WHOLE.config);
  for (let size = 1; size < whole.length; size++) await assert.rejects(parseKeys(whole.slice(0, size)), Untrusted);
  await assert.rejects(parseKeys(listed(WHOLE.config + "00")), Untrusted);
});

test("keys are taken over https and from this machine only", () => {
  const trusted = ["https://gateway.example", "http://localhost:3000", "http://127.0.0.1", "http://127.8.9.1:1", "http://[::1]:3000"];
  const others = ["http://gateway.example", "http://192.168.0.1", "http://127.0.0.1.example", "http://localhost.example"];
  for (const url of trusted) assert.ok(isTrustworthy(new URL(url)), url);
  for (const url of others) assert.ok(!isTrustworthy(new URL(url)), url);
});
