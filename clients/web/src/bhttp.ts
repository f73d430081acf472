/**
 * Binary HTTP (RFC 9292): writes requests of known length, reads responses of known and of indeterminate length. What is
 * not exactly right throws SealBroken. Knows nothing of envelopes.
 */

import { ascii, concat, Reader, varint, type Bytes } from "./bytes.ts";
import { SealBroken } from "./errors.ts";
import type { Headers, InnerRequest, InnerResponse } from "./messages.ts";

const REQUEST = 0;
const RESPONSE = 1;
const RESPONSE_INDETERMINATE = 3;
const MAX_FIELDS = 100;
const NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
const VALUE = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/;

/** A request of known length; its parts hold ASCII only. Zero bytes may follow it as padding (section 3.8). */
export function encodeRequest(request: InnerRequest): Bytes {
  const lines = request.headers.flatMap(([name, value]) => [sized(ascii(name)), sized(ascii(value))]);
  const control = [request.method, request.scheme, request.authority, request.target];
  return concat(
    varint(REQUEST),
    ...control.map((part) => sized(ascii(part))),
    sized(concat(...lines)),
    sized(request.body),
    varint(0),
  );
}

/** The final response; informational ones before it are skipped. Throws SealBroken. */
export function decodeResponse(bytes: Bytes): InnerResponse {
  const reader = readerOf(bytes);
  const framing = reader.varint();
  if (framing !== RESPONSE && framing !== RESPONSE_INDETERMINATE) throw new SealBroken();
  const known = framing === RESPONSE;
  let status = reader.varint();
  for (let skipped = 0; status >= 100 && status < 200 && skipped < MAX_FIELDS; skipped++) {
    fields(reader, known);
    status = reader.varint();
  }
  if (status < 200 || status > 599) throw new SealBroken();
  // Sections that are empty up to the end may be left out (section 3.8).
  const headers = fields(reader, known);
  const body = reader.left === 0 ? new Uint8Array() : known ? reader.sized() : chunks(reader);
  fields(reader, known); // trailers
  if (reader.rest().some((byte) => byte !== 0)) throw new SealBroken();
  return { status, headers, body };
}

function readerOf(bytes: Bytes): Reader {
  return new Reader(bytes, () => new SealBroken());
}

function sized(bytes: Uint8Array): Bytes {
  return concat(varint(bytes.length), bytes);
}

function chunks(reader: Reader): Bytes {
  const pieces: Bytes[] = [];
  for (let size = reader.varint(); size > 0; size = reader.varint()) pieces.push(reader.take(size));
  return concat(...pieces);
}

/** A field section: with its length before it, or a zero after it. */
function fields(reader: Reader, known: boolean): Headers {
  if (reader.left === 0) return [];
  const section = known ? readerOf(reader.sized()) : reader;
  const lines: [string, string][] = [];
  while (!known || section.left > 0) {
    const size = section.varint();
    if (!known && size === 0) break;
    const line: [string, string] = [latin1(section.take(size)), latin1(section.sized())];
    if (!NAME.test(line[0]) || !VALUE.test(line[1]) || lines.length === MAX_FIELDS) throw new SealBroken();
    lines.push(line);
  }
  return lines;
}

function latin1(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}
