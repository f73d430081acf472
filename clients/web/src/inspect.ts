/**
 * What a picture file says of itself, read from its bytes before anything decodes it: format, size in pixels, which
 * metadata it carries, and whether it is whole. Knows nothing of browsers.
 */

export type PictureType = "image/jpeg" | "image/png" | "image/webp";

/** width, height: as stored, before any rotation. metadata: kinds that are there. whole: whether it runs to its end. */
export interface FileFacts {
  readonly type: PictureType;
  readonly width: number;
  readonly height: number;
  readonly metadata: readonly string[];
  readonly whole: boolean;
}

/** The format that the first bytes say; undefined for anything else. */
export function sniff(bytes: Uint8Array): PictureType | undefined {
  if (begins(bytes, 0, "\xff\xd8\xff")) return "image/jpeg";
  if (begins(bytes, 0, "\x89PNG\r\n\x1a\n")) return "image/png";
  if (begins(bytes, 0, "RIFF") && begins(bytes, 8, "WEBP")) return "image/webp";
  return undefined;
}

/** The facts of a file; undefined when it is of no known format or its header cannot be read. */
export function inspect(bytes: Uint8Array): FileFacts | undefined {
  const type = sniff(bytes);
  if (!type) return undefined;
  const found = { width: 0, height: 0, metadata: new Set<string>(), whole: false };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const walk = { "image/jpeg": jpeg, "image/png": png, "image/webp": webp }[type];
  walk(bytes, view, found);
  if (found.width === 0 || found.height === 0) return undefined;
  return { type, width: found.width, height: found.height, metadata: [...found.metadata], whole: found.whole };
}

interface Found {
  width: number;
  height: number;
  metadata: Set<string>;
  whole: boolean;
}

/** Segments of a JPEG (ITU-T T.81, annex B): marker, length, content; entropy-coded data after each scan's header. */
function jpeg(bytes: Uint8Array, view: DataView, found: Found): void {
  let at = 2;
  while (at + 1 < bytes.length) {
    if (bytes[at] !== 0xff) return;
    const marker = bytes[at + 1]!;
    if (marker === 0xff) {
      at += 1; // a fill byte
      continue;
    }
    if (marker === 0xd9) {
      found.whole = true;
      if (at + 2 < bytes.length) found.metadata.add("trailing data");
      return;
    }
    if (at + 4 > bytes.length) return;
    const length = view.getUint16(at + 2);
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame && at + 9 <= bytes.length) [found.height, found.width] = [view.getUint16(at + 5), view.getUint16(at + 7)];
    const kind = jpegMetadata(bytes, at, marker);
    if (kind) found.metadata.add(kind);
    at += 2 + length;
    if (marker === 0xda) at = endOfScan(bytes, at);
  }
}

function jpegMetadata(bytes: Uint8Array, at: number, marker: number): string | undefined {
  if (marker === 0xfe) return "comment";
  if (marker === 0xed) return "IPTC";
  if (marker === 0xe2) return begins(bytes, at + 4, "ICC_PROFILE") ? "colour profile" : "application data";
  if (marker === 0xe1) return begins(bytes, at + 4, "Exif") ? "EXIF" : "XMP";
  return undefined;
}

/** Where the next marker begins: 0xff that is neither a stuffed byte nor a restart marker. */
function endOfScan(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(0xff, from); at >= 0; at = bytes.indexOf(0xff, at + 1)) {
    const next = bytes[at + 1];
    if (next === undefined) break;
    if (next !== 0x00 && next !== 0xff && (next < 0xd0 || next > 0xd7)) return at;
  }
  return bytes.length;
}

const PNG_METADATA: Readonly<Record<string, string>> = {
  eXIf: "EXIF", iCCP: "colour profile", tEXt: "text", zTXt: "text", iTXt: "text", tIME: "time",
};

/** Chunks of a PNG: length, type, content, checksum. */
function png(bytes: Uint8Array, view: DataView, found: Found): void {
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const type = ascii(bytes, at + 4);
    if (type === "IHDR" && at + 16 <= bytes.length) {
      [found.width, found.height] = [view.getUint32(at + 8), view.getUint32(at + 12)];
    }
    const kind = PNG_METADATA[type];
    if (kind) found.metadata.add(kind);
    at += 12 + length;
    if (type === "IEND") {
      found.whole = at <= bytes.length;
      if (at < bytes.length) found.metadata.add("trailing data");
      return;
    }
  }
}

const WEBP_METADATA: Readonly<Record<string, string>> = { EXIF: "EXIF", "XMP ": "XMP", ICCP: "colour profile" };

/** Chunks of a RIFF file (RFC 9649): type, length, content, padded to even sizes. */
function webp(bytes: Uint8Array, view: DataView, found: Found): void {
  const ends = bytes.length < 12 ? 0 : 8 + view.getUint32(4, true);
  found.whole = ends <= bytes.length;
  if (ends < bytes.length) found.metadata.add("trailing data");
  for (let at = 12; at + 8 <= Math.min(ends, bytes.length); ) {
    const type = ascii(bytes, at);
    const kind = WEBP_METADATA[type];
    if (kind) found.metadata.add(kind);
    if (found.width === 0 && at + 18 <= bytes.length) [found.width, found.height] = webpSize(view, at + 8, type);
    const length = view.getUint32(at + 4, true);
    at += 8 + length + (length & 1);
  }
}

/** The size that a chunk gives, [0, 0] when it gives none. at: where its content begins. */
function webpSize(view: DataView, at: number, type: string): [number, number] {
  const uint24 = (from: number) => view.getUint16(from, true) | (view.getUint8(from + 2) << 16);
  if (type === "VP8X") return [1 + uint24(at + 4), 1 + uint24(at + 7)];
  if (type === "VP8 ") return [view.getUint16(at + 6, true) & 0x3fff, view.getUint16(at + 8, true) & 0x3fff];
  if (type === "VP8L") {
    const bits = view.getUint32(at + 1, true);
    return [1 + (bits & 0x3fff), 1 + ((bits >>> 14) & 0x3fff)];
  }
  return [0, 0];
}

function begins(bytes: Uint8Array, at: number, text: string): boolean {
  return Array.from(text).every((letter, i) => bytes[at + i] === letter.charCodeAt(0));
}

function ascii(bytes: Uint8Array, at: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + 4));
}
