/**
 * Everything that is thrown on purpose. `title` is constant for a kind of failure, `detail` says what helps; neither holds
 * anything of a picture.
 *
 * SafelightError
 * ├── BadPicture     refused on this machine; nothing was sent
 * ├── Untrusted      no key that may be used, or no way to seal here
 * ├── Unreachable    no answer came
 * ├── Refused        the service said no: a problem document (RFC 9457)
 * └── SealBroken     an answer that does not open
 */

export class SafelightError extends Error {
  override readonly name: string = "SafelightError";

  constructor(
    readonly title: string,
    readonly detail: string,
  ) {
    super(`${title}. ${detail}`);
  }
}

// Names are spelled out: those of classes do not survive the build.

export class BadPicture extends SafelightError {
  override readonly name = "BadPicture";
}

export class Untrusted extends SafelightError {
  override readonly name = "Untrusted";

  constructor(detail: string) {
    super("The request cannot be sealed", detail);
  }
}

export class Unreachable extends SafelightError {
  override readonly name = "Unreachable";

  constructor(detail: string) {
    super("The service cannot be reached", detail);
  }
}

export class SealBroken extends SafelightError {
  override readonly name = "SealBroken";

  constructor() {
    super("The answer does not open", "It is not what the service sealed for this request.");
  }
}

/** What is wrong with a picture that was too poor. measure: what was measured. advice: what to do about it. */
export interface PictureProblem {
  readonly measure: string;
  readonly value: number;
  readonly limit: number;
  readonly advice: string;
}

/**
 * status: of the HTTP answer. type: the problem's URI. requestId: finds the request in the service's log. problems: of a picture
 * that was too poor to be read.
 */
export class Refused extends SafelightError {
  override readonly name = "Refused";

  constructor(
    title: string,
    detail: string,
    readonly status: number,
    readonly type: string | undefined,
    readonly requestId: string | undefined,
    readonly retryable: boolean,
    readonly problems: readonly PictureProblem[] = [],
  ) {
    super(title, detail);
  }

  /** A refusal out of an answer, whether it is a problem document or a proxy's page. */
  static of(status: number, mediaType: string, body: Uint8Array): Refused {
    let problem: Record<string, unknown> = {};
    if (mediaType.startsWith("application/problem+json")) {
      try {
        const parsed: unknown = JSON.parse(new TextDecoder().decode(body));
        if (typeof parsed === "object" && parsed !== null) problem = parsed as Record<string, unknown>;
      } catch {
        // an answer that does not say why
      }
    }
    const text = (name: string) => (typeof problem[name] === "string" ? (problem[name] as string) : undefined);
    return new Refused(
      text("title") ?? `Refused with ${status}`,
      text("detail") ?? "The answer does not say why.",
      status,
      text("type"),
      text("request_id"),
      problem["retryable"] === true,
      Array.isArray(problem["problems"]) ? (problem["problems"] as PictureProblem[]) : [],
    );
  }
}
