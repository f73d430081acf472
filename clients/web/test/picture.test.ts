/** What files say of themselves, and how the quality of pixels is measured. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ascii, concat, uint16, type Bytes } from "../src/bytes.ts";
import { inspect, sniff } from "../src/inspect.ts";
import { measure } from "../src/quality.ts";
import { strip } from "../src/strip.ts";
import { unhex } from "./hex.ts";

const uint32 = (value: number) => concat(uint16(value >>> 16), uint16(value & 0xffff));
const little = (value: number) => uint32(value).reverse() as Bytes;
const segment = (marker: number, content: Bytes) => concat(Uint8Array.of(0xff, marker), uint16(content.length + 2), content);
const frame = segment(0xc2, concat(Uint8Array.of(8), uint16(480), uint16(640), unhex("03012200021101031101")));
const scan = concat(segment(0xda, unhex("03010002110311003f00")), unhex("12ff0034ffd05678ff00"));

function jpeg(...segments: Bytes[]): Bytes {
  return concat(unhex("ffd8"), ...segments, frame, segment(0xc4, unhex("00")), scan, scan, unhex("ffd9"));
}

function png(...chunks: [string, Bytes][]): Bytes {
  const header = concat(uint32(640), uint32(480), unhex("0802000000"));
  const all: [string, Bytes][] = [["IHDR", header], ...chunks, ["IDAT", unhex("78da")], ["IEND", new Uint8Array()]];
  const written = all.map(([type, content]) => concat(uint32(content.length), ascii(type), content, uint32(0)));
  return concat(unhex("89504e470d0a1a0a"), ...written);
}

function webp(...chunks: [string, Bytes][]): Bytes {
  const written = chunks.map(([type, content]) =>
    concat(ascii(type), little(content.length), content, new Uint8Array(content.length % 2)),
  );
  const body = concat(ascii("WEBP"), ...written);
  return concat(ascii("RIFF"), little(body.length), body);
}

test("a JPEG's size, its metadata, and where it ends", () => {
  const plain = jpeg(segment(0xe0, ascii("JFIF\0")));
  assert.deepEqual(inspect(plain), { type: "image/jpeg", width: 640, height: 480, metadata: [], whole: true });
  const told = jpeg(
    segment(0xe1, ascii("Exif\0\0 with a thumbnail \xff\xd9")),
    segment(0xe1, ascii("http://ns.adobe.com/xap/1.0/\0")),
    segment(0xe2, ascii("ICC_PROFILE\0")),
    segment(0xed, ascii("Photoshop 3.0")),
    segment(0xfe, ascii("a comment")),
  );
  assert.deepEqual(inspect(told)!.metadata, ["EXIF", "XMP", "colour profile", "IPTC", "comment"]);
  assert.deepEqual(inspect(concat(plain, ascii("more")))!.metadata, ["trailing data"]);
  for (let size = 40; size < plain.length; size++) assert.notEqual(inspect(plain.slice(0, size))?.whole, true);
});

test("a PNG's size, its metadata, and where it ends", () => {
  assert.deepEqual(inspect(png()), { type: "image/png", width: 640, height: 480, metadata: [], whole: true });
  const told = png(["tEXt", ascii("a")], ["eXIf", ascii("b")], ["iCCP", ascii("c")], ["tIME", ascii("d")]);
  assert.deepEqual(inspect(told)!.metadata, ["text", "EXIF", "colour profile", "time"]);
  assert.deepEqual(inspect(concat(png(), ascii("x")))!.metadata, ["trailing data"]);
  for (let size = 33; size < png().length; size++) assert.equal(inspect(png().slice(0, size))!.whole, false);
});

test("a WebP's size in its three kinds, its metadata, and where it ends", () => {
  const lossy = unhex("300100 9d012a 8002 e001");
  const lossless = concat(Uint8Array.of(0x2f), little(639 | (479 << 14)), unhex("00000000"));
  const extended = concat(unhex("08000000"), unhex("7f0200"), unhex("df0100"));
  for (const chunks of [[["VP8 ", lossy]], [["VP8L", lossless]], [["VP8X", extended], ["EXIF", ascii("e")], ["XMP ", ascii("x")]]]) {
    const facts = inspect(webp(...(chunks as [string, Bytes][])))!;
    assert.deepEqual([facts.width, facts.height, facts.whole], [640, 480, true]);
    assert.deepEqual(facts.metadata, chunks.length > 1 ? ["EXIF", "XMP"] : []);
  }
  const whole = webp(["VP8 ", lossy]);
  assert.equal(inspect(webp(["VP8 ", lossy], ["EXIF", ascii("e")]).slice(0, -1))!.whole, false);
  assert.deepEqual(inspect(concat(whole, ascii("x")))!.metadata, ["trailing data"]);
});

test("what is no picture, or is cut anywhere, makes nothing fail", () => {
  for (const text of ["", "GIF89a", "<svg>", "RIFF1234WAVE", "%PDF-1.7"]) assert.equal(sniff(ascii(text)), undefined);
  assert.equal(inspect(ascii("hello")), undefined);
  for (const whole of [jpeg(), png(), webp(["VP8 ", unhex("300100 9d012a 8002 e001")], ["EXIF", ascii("e")])]) {
    for (let size = 0; size < whole.length; size++) inspect(whole.slice(0, size));
    for (let i = 8; i < whole.length; i++) inspect(whole.with(i, 255) as Bytes);
  }
});

test("sharp edges measure more than soft ones, and clipped pixels are counted", () => {
  const rgba = (side: number, luma: (x: number, y: number) => number) => {
    const pixels = new Uint8ClampedArray(side * side * 4).fill(255);
    for (let i = 0; i < side * side; i++) pixels.fill(luma(i % side, Math.floor(i / side)), 4 * i, 4 * i + 3);
    return pixels;
  };
  const board = measure(rgba(64, (x, y) => ((x + y) % 2) * 200), 64, 64);
  assert.equal(Math.round(board.sharpness), 640_000); // the Laplacian is plus or minus 800 everywhere
  assert.deepEqual([board.dark, board.bright], [0.5, 0]);
  const ramp = measure(rgba(64, (x) => x * 4), 64, 64);
  assert.ok(ramp.sharpness < 1);
  assert.deepEqual(measure(rgba(8, () => 255), 8, 8), { sharpness: 0, dark: 0, bright: 1 });
  assert.equal(measure(rgba(2, () => 100), 2, 2).sharpness, 0);
});

test("stripping leaves the picture and nothing else", () => {
  const adobe = segment(0xee, ascii("Adobe"));
  const jfif = segment(0xe0, ascii("JFIF\0"));
  const told = jpeg(jfif, segment(0xe1, ascii("Exif")), segment(0xe2, ascii("ICC_PROFILE")), adobe, segment(0xfe, ascii("c")));
  assert.deepEqual(concat(...strip(told)), jpeg(jfif, adobe));
  const extra: [string, Bytes][] = [["sRGB", unhex("00")], ["PLTE", unhex("000000")], ["iCCP", ascii("c")], ["tEXt", ascii("t")]];
  assert.deepEqual(concat(...strip(png(...extra))), png(["PLTE", unhex("000000")]));
});
