/** What readers read. Knows nothing of how it is asked. */

interface Named {
  readonly name: string;
  readonly version: string;
  readonly digest: string;
}

/**
 * What stands on a picture. fields: of the task, and what is known of them besides; null where it is not. confidence: how likely
 * they are to be right, 0 to 1. sources: where each field is from. sealedWith: the public name of the key.
 */
export interface Reading {
  readonly requestId: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly confidence: number;
  readonly quality: Readonly<Record<string, number>>;
  readonly sources: Readonly<Record<string, string>>;
  readonly model: Named & { readonly base: Named };
  readonly sealedWith: string;
}

const OWN = new Set([
  "success", "request_id", "confidence", "quality", "timestamp", "api_version", "model", "sources", "fallback_from", "location",
  "fields",
]);

/** The answer of POST /v1/read out of its JSON. */
export function readReading(raw: Record<string, unknown>, sealedWith: string): Reading {
  const own = Object.fromEntries(Object.entries(raw).filter(([name]) => !OWN.has(name)));
  return {
    requestId: raw["request_id"] as string,
    fields: (raw["fields"] as Record<string, unknown> | undefined) ?? own,
    confidence: raw["confidence"] as number,
    quality: raw["quality"] as Record<string, number>,
    sources: raw["sources"] as Record<string, string>,
    model: raw["model"] as Reading["model"],
    sealedWith,
  };
}
