/** RFC 9292, section 5: its examples, and what is broken about them when they are cut or changed. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { decodeResponse, encodeRequest } from "../src/bhttp.ts";
import { hex, Reader, varint } from "../src/bytes.ts";
import { SealBroken } from "../src/errors.ts";
import { paddedSize } from "../src/padding.ts";
import { unhex } from "./hex.ts";

const REQUEST = `0003474554056874747073000a2f6865 6c6c6f2e747874406c0a757365722d61 67656e74346375726c2f372e31362e33
  206c69626375726c2f372e31362e3320 4f70656e53534c2f302e392e376c207a 6c69622f312e322e3304686f73740f77
  77772e6578616d706c652e636f6d0f61 63636570742d6c616e67756167650665 6e2c206d690000`;
const INFORMED = `0340660772756e6e696e670a22736c65 657020313522004067046c696e6b233c 2f7374796c652e6373733e3b2072656c
  3d7072656c6f61643b2061733d737479 6c65046c696e6b243c2f736372697074 2e6a733e3b2072656c3d7072656c6f61
  643b2061733d7363726970740040c804 646174651d4d6f6e2c203237204a756c 20323030392031323a32383a35332047
  4d540673657276657206417061636865 0d6c6173742d6d6f6469666965641d57 65642c203232204a756c203230303920
  31393a31353a353620474d5404657461 671422333461613338372d642d313536 3865623030220d6163636570742d7261
  6e676573056279746573 0e636f6e74656e742d6c656e67746802 353104766172790f4163636570742d45 6e636f64696e
  670c636f6e74656e742d747970650a74 6578742f706c61696e003348656c6c6f 20576f726c6421204d7920636f6e7465
  6e7420696e636c756465732061207472 61696c696e672043524c462e0d0a0000`;
const WITH_TRAILER = "0140c8001d5468697320636f6e74656e7420636f6e7461696e732043524c462e0d0a0d07747261696c65720474657874";
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

test("variable-length integers are those of RFC 9000, A.1", () => {
  assert.equal(hex(varint(37)), "25");
  assert.equal(hex(varint(15293)), "7bbd");
  assert.equal(hex(varint(494878333)), "9d7f3e7d");
  assert.equal(hex(varint(2 ** 30)), "c000000040000000");
  for (const value of [0, 63, 64, 16383, 16384, 2 ** 30 - 1, 2 ** 30, Number.MAX_SAFE_INTEGER]) {
    assert.equal(new Reader(varint(value), () => new Error()).varint(), value);
  }
  assert.throws(() => new Reader(unhex("c2197c5eff14e88c"), () => new SealBroken()).varint(), SealBroken);
});

test("the RFC's request is written byte by byte", () => {
  const written = encodeRequest({
    method: "GET",
    scheme: "https",
    authority: "",
    target: "/hello.txt",
    headers: [
      ["user-agent", "curl/7.16.3 libcurl/7.16.3 OpenSSL/0.9.7l zlib/1.2.3"],
      ["host", "www.example.com"],
      ["accept-language", "en, mi"],
    ],
    body: new Uint8Array(),
  });
  assert.equal(hex(written), hex(unhex(REQUEST)));
});

test("a response of indeterminate length is read, informational ones before it skipped", () => {
  const response = decodeResponse(unhex(INFORMED));
  assert.equal(response.status, 200);
  assert.equal(response.headers.length, 8);
  assert.deepEqual(response.headers.at(-1), ["content-type", "text/plain"]);
  assert.equal(text(response.body), "Hello World! My content includes a trailing CRLF.\r\n");
});

test("a response of known length is read, with trailers, padding, or cut where only empty sections follow", () => {
  const response = decodeResponse(unhex(WITH_TRAILER));
  assert.deepEqual([response.status, text(response.body)], [200, "This content contains CRLF.\r\n"]);
  for (const minimal of ["0140c8", "0140c800", "0140c80000", "0140c8000000", "0140c8" + "00".repeat(50), "0340c8"]) {
    assert.deepEqual(decodeResponse(unhex(minimal)), { status: 200, headers: [], body: new Uint8Array() });
  }
});

test("what is cut, changed or no final response is refused", () => {
  const whole = unhex(WITH_TRAILER);
  const ends = [3, 4, 34]; // before headers, content and trailers: those are then empty
  for (let size = 0; size < whole.length; size++) {
    if (ends.includes(size)) continue;
    assert.throws(() => decodeResponse(whole.slice(0, size)), SealBroken, `cut to ${size}`);
  }
  const bad = ["", "0040c8", "0240c8", "0440c8", "014064", "0143e8", "0140c800000001", WITH_TRAILER + "01"];
  const lines = ["0140c8040141016100", "0140c8040161010a00", "0140c80601610320622000", "0140c80400016100"];
  for (const message of [...bad, ...lines]) assert.throws(() => decodeResponse(unhex(message)), SealBroken, message);
});

test("changed bytes never make anything but a response or SealBroken", () => {
  let seed = 1;
  const random = (below: number) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) % below;
  for (let round = 0; round < 5000; round++) {
    const message = unhex(round % 2 ? INFORMED : WITH_TRAILER);
    for (let i = 0; i <= round % 3; i++) message[random(message.length)] = random(256);
    try {
      decodeResponse(message.slice(0, 1 + random(message.length)));
    } catch (error) {
      assert.ok(error instanceof SealBroken);
    }
  }
});

test("padding grows by at most 12 per cent, and never below a kilobyte", () => {
  assert.equal(paddedSize(0), 1024);
  assert.equal(paddedSize(1025), 1088);
  for (let size = 1024; size < 3e7; size = Math.ceil(size * 1.37)) {
    const padded = paddedSize(size);
    assert.ok(padded >= size && padded <= size * 1.12, `${size} to ${padded}`);
    assert.equal(paddedSize(padded), padded);
  }
});
