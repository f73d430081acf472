/** HTTP messages as they travel inside an envelope, and what a sealed protocol is. */

import type { Bytes } from "./bytes.ts";

/** Field lines in order; names in lower case. */
export type Headers = readonly (readonly [name: string, value: string])[];

/** target: path and query. */
export interface InnerRequest {
  readonly method: string;
  readonly scheme: string;
  readonly authority: string;
  readonly target: string;
  readonly headers: Headers;
  readonly body: Bytes;
}

export interface InnerResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Bytes;
}

export function header(headers: Headers, name: string): string | undefined {
  return headers.find(([key]) => key === name)?.[1];
}

/**
 * A sealed request as it is sent: POST `body` to `target`. An answer of `answerType` is opened with `open`, which throws
 * SealBroken; an answer of another type is not sealed.
 */
export interface Outgoing {
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Blob;
  readonly answerType: string;
  open(answer: Bytes): Promise<InnerResponse>;
}

/** A sealed protocol. sealedWith: the public name of the key, for people to compare. */
export interface Wrapper {
  readonly protocol: string;
  readonly sealedWith: string;
  wrap(request: InnerRequest): Promise<Outgoing>;
}
