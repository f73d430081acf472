/**
 * A client of a Safelight gateway: every request is sealed before it leaves, every answer is opened here.
 *
 *     const client = new SafelightClient({ baseUrl: "https://gateway.example", pins: ["3f9a..."] });
 *     const answer = await client.detect((await prepare(file)).file);
 */

import type { AwsKey } from "./aws.ts";
import type { Bytes } from "./bytes.ts";
import { BadPicture, Refused, SafelightError, Unreachable, Untrusted } from "./errors.ts";
import { choose, isTrustworthy, parseKeys } from "./keys.ts";
import { header, type InnerResponse, type Wrapper } from "./messages.ts";
import { DATE_PROBLEM, KEY_PROBLEM, KEYS_PATH, KEYS_TYPE, OhttpWrapper } from "./ohttp.ts";
import { readReading, type Reading } from "./readings.ts";

/**
 * baseUrl: the gateway's, by default the page's own. pins: fingerprints of key configurations that may be used; without
 * them keys are taken over https or from this machine only. chunked: whether Oblivious HTTP goes in chunks. relay: the URL
 * of an Oblivious HTTP relay, which hides from the service who asks. aws: a shared key, to use AWS Encryption SDK messages
 * instead. apiKey: an API key or a JWT; travels inside the envelope. fetch, now: for tests; now is in milliseconds since
 * the epoch.
 */
export interface ClientOptions {
  readonly baseUrl?: string | URL;
  readonly pins?: readonly string[];
  readonly chunked?: boolean;
  readonly aws?: AwsKey;
  readonly relay?: string | URL;
  readonly apiKey?: string;
  readonly fetch?: typeof fetch;
  readonly now?: () => number;
}

/** threshold: least confidence. classes: labels to keep. Left out: the service's defaults. */
export interface DetectOptions {
  readonly model?: string;
  readonly threshold?: number;
  readonly classes?: readonly string[];
  readonly signal?: AbortSignal;
}

/** model: a reader. zipcode: where the picture was taken; the service keeps its first three digits only. */
export interface ReadOptions {
  readonly model?: string;
  readonly zipcode?: string;
  readonly signal?: AbortSignal;
}

/** box: x_min, y_min, x_max, y_max in pixels of the picture that was sent. */
export interface Annotation {
  readonly className: string;
  readonly confidence: number;
  readonly box: readonly [number, number, number, number];
}

/** What was found, strongest first. sealedWith: the public name of the key. */
export interface Answer {
  readonly requestId: string;
  readonly model: { readonly name: string; readonly version: string; readonly digest: string };
  readonly counts: Readonly<Record<string, number>>;
  readonly annotations: readonly Annotation[];
  readonly timingMs: Readonly<Record<string, number>>;
  readonly sealedWith: string;
}

/**
 * thresholds: score is the one that is used when none is asked for, floor the least that may be asked for. task: image-to-json
 * for those that read.
 */
export interface Model {
  readonly name: string;
  readonly state: string;
  readonly version: string | null;
  readonly task: string | null;
  readonly labels: readonly string[] | null;
  readonly thresholds: { readonly score?: number; readonly floor?: number } | null;
}

export interface Models {
  readonly default: string;
  readonly default_reader?: string | null;
  readonly models: readonly Model[];
}

interface WireAnnotation {
  class_name: string;
  confidence: number;
  data: { x_min: number; y_min: number; x_max: number; y_max: number };
}

export class SafelightClient {
  readonly #baseUrl: URL;
  readonly #options: ClientOptions;
  readonly #now: () => number;
  #wrapper: Promise<Wrapper> | undefined;
  #skewMs = 0;

  /** Throws Untrusted when keys from there would prove nothing and none are pinned, or when this page cannot seal. */
  constructor(options: ClientOptions = {}) {
    this.#baseUrl = new URL(options.baseUrl ?? globalThis.location.origin);
    this.#options = { ...options, ...(options.pins && { pins: options.pins.map((pin) => pin.toLowerCase()) }) };
    this.#now = options.now ?? Date.now;
    if (!globalThis.crypto?.subtle) {
      throw new Untrusted("Browsers lend their cryptography to https pages and to this machine's own only.");
    }
    if (!options.aws && !options.pins && !isTrustworthy(this.#baseUrl)) {
      throw new Untrusted("Keys that come over plain http could be anybody's. Use https, or pin a fingerprint.");
    }
  }

  /** The objects on a picture file. Throws Refused, Unreachable, Untrusted, SealBroken or BadPicture. */
  async detect(picture: Blob, options: DetectOptions = {}): Promise<Answer> {
    const query = new URLSearchParams();
    if (options.model !== undefined) query.set("model", options.model);
    if (options.threshold !== undefined) query.set("threshold", String(options.threshold));
    if (options.classes !== undefined) query.set("classes", options.classes.join(","));
    const [response, sealedWith] = await this.#send("/v1/detect", query, picture, options.signal);
    const found = parsed(response) as {
      request_id: string;
      model: Answer["model"];
      counts: Record<string, number>;
      annotations: WireAnnotation[];
      timing_ms: Record<string, number>;
    };
    return {
      requestId: found.request_id,
      model: found.model,
      counts: found.counts,
      annotations: found.annotations.map(({ class_name, confidence, data }) => ({
        className: class_name,
        confidence,
        box: [data.x_min, data.y_min, data.x_max, data.y_max],
      })),
      timingMs: found.timing_ms,
      sealedWith,
    };
  }

  /** What stands on a picture file. Throws as `detect` does; a picture that is too poor is Refused, with its problems. */
  async read(picture: Blob, options: ReadOptions = {}): Promise<Reading> {
    const query = new URLSearchParams();
    if (options.model !== undefined) query.set("model", options.model);
    if (options.zipcode !== undefined) query.set("zipcode", options.zipcode);
    const [response, sealedWith] = await this.#send("/v1/read", query, picture, options.signal);
    return readReading(parsed(response) as Record<string, unknown>, sealedWith);
  }

  /** What the service serves. Throws as `detect` does. */
  async models(signal?: AbortSignal): Promise<Models> {
    const [response] = await this.#exchange("GET", "/v1/models", new Uint8Array(), undefined, signal);
    return parsed(response) as Models;
  }

  /** The name of the key that requests are sealed with: a configuration's fingerprint. Throws as `detect` does. */
  async sealedWith(): Promise<string> {
    return (await this.#sealing()).sealedWith;
  }

  async #send(path: string, query: URLSearchParams, picture: Blob, signal?: AbortSignal): Promise<[InnerResponse, string]> {
    if (picture.size === 0) throw new BadPicture("The picture is empty", "It has no bytes.");
    const target = query.size > 0 ? `${path}?${query}` : path;
    const body = new Uint8Array(await picture.arrayBuffer());
    return this.#exchange("POST", target, body, picture.type || "application/octet-stream", signal);
  }

  /** One sealed request and its answer, with one more try for a rotated key and one for a wrong clock. */
  async #exchange(
    method: string,
    target: string,
    body: Bytes,
    mediaType?: string,
    signal?: AbortSignal,
  ): Promise<[InnerResponse, string]> {
    let [mayRefetch, mayCorrect] = [true, true];
    for (;;) {
      const wrapper = await this.#sealing(signal);
      const headers: [string, string][] = [["date", new Date(this.#now() + this.#skewMs).toUTCString()]];
      if (mediaType) headers.push(["content-type", mediaType]);
      if (this.#options.apiKey) headers.push(["authorization", `Bearer ${this.#options.apiKey}`]);
      const { protocol, host } = this.#baseUrl;
      const outgoing = await wrapper.wrap({
        method, target, body, scheme: protocol.slice(0, -1), authority: host, headers,
      });
      const init = { method: "POST", headers: outgoing.headers, body: outgoing.body };
      const outer = await this.#fetch((!this.#options.aws && this.#options.relay) || outgoing.target, init, signal);
      if (outer.mediaType !== outgoing.answerType) {
        const refused = Refused.of(outer.status, outer.mediaType, outer.body);
        if (refused.type !== KEY_PROBLEM || !mayRefetch || this.#options.aws) throw refused;
        mayRefetch = false;
        this.#wrapper = undefined;
        continue;
      }
      const inner = await outgoing.open(outer.body);
      if (inner.status < 400) return [inner, wrapper.sealedWith];
      const refused = Refused.of(inner.status, essence(header(inner.headers, "content-type")), inner.body);
      const theirs = Date.parse(header(inner.headers, "date") ?? "");
      if (refused.type !== DATE_PROBLEM || !mayCorrect || Number.isNaN(theirs)) throw refused;
      mayCorrect = false;
      this.#skewMs = theirs - this.#now();
    }
  }

  /** The protocol with its key, made on first use. One that could not be made is tried again next time. */
  #sealing(signal?: AbortSignal): Promise<Wrapper> {
    this.#wrapper ??= this.#options.aws ? this.#awsWrapper(this.#options.aws) : this.#ohttpWrapper(signal);
    this.#wrapper.catch(() => (this.#wrapper = undefined));
    return this.#wrapper;
  }

  async #ohttpWrapper(signal?: AbortSignal): Promise<Wrapper> {
    const keys = await this.#fetch(KEYS_PATH, { headers: { accept: KEYS_TYPE } }, signal);
    if (keys.status !== 200) throw Refused.of(keys.status, keys.mediaType, keys.body);
    if (keys.mediaType !== KEYS_TYPE) throw new Untrusted("The service does not give its keys in the form expected.");
    return new OhttpWrapper(choose(await parseKeys(keys.body), this.#options.pins), this.#options.chunked);
  }

  async #awsWrapper(key: AwsKey): Promise<Wrapper> {
    const { AwsWrapper } = await import("./aws.ts"); // large, and rarely needed
    return new AwsWrapper(key, () => this.#now() + this.#skewMs);
  }

  async #fetch(
    path: string | URL,
    init: RequestInit,
    signal?: AbortSignal,
  ): Promise<{ status: number; mediaType: string; body: Bytes }> {
    const call = this.#options.fetch ?? fetch.bind(globalThis);
    try {
      const response = await call(new URL(path, this.#baseUrl), {
        ...init,
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        referrerPolicy: "no-referrer",
        ...(signal && { signal }),
      });
      const body = new Uint8Array(await response.arrayBuffer());
      return { status: response.status, mediaType: essence(response.headers.get("content-type")), body };
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw new Unreachable("No answer came. It may be down, or the connection is.");
    }
  }
}

function parsed(response: InnerResponse): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(response.body));
  } catch {
    throw new SafelightError("The answer cannot be read", "It is not the JSON that was expected.");
  }
}

/** A media type without its parameters, in lower case. */
function essence(mediaType: string | null | undefined): string {
  return (mediaType ?? "").split(";")[0]!.trim().toLowerCase();
}
