/** Key configurations of a gateway (RFC 9458, section 3), and which of them may be used. */

import { Reader, sha256, type Bytes } from "./bytes.ts";
import { Untrusted } from "./errors.ts";

const X25519 = 0x0020;
const X25519_BYTES = 32;
const HKDF_SHA256 = 0x0001;
/** AES-128-GCM and AES-256-GCM: what WebCrypto has in every browser. */
const AEADS = [0x0001, 0x0002] as const;
export type AeadId = (typeof AEADS)[number];

/** fingerprint: SHA-256 of the configuration as it stands in /ohttp-keys, in hexadecimal. aead: the one to use. */
export interface KeyConfig {
  readonly id: number;
  readonly kem: number;
  readonly kdf: number;
  readonly aead: AeadId;
  readonly publicKey: Bytes;
  readonly fingerprint: string;
}

/** The usable configurations of an application/ohttp-keys body, in its order. Throws Untrusted when it is malformed. */
export async function parseKeys(bytes: Bytes): Promise<KeyConfig[]> {
  const reader = new Reader(bytes, malformed);
  const configs: KeyConfig[] = [];
  while (reader.left > 0) {
    const config = await parseConfig(reader.take(reader.uint(2)));
    if (config) configs.push(config);
  }
  return configs;
}

/** The first configuration that may be used; `pins` undefined for any. Throws Untrusted when there is none. */
export function choose(configs: readonly KeyConfig[], pins: readonly string[] | undefined): KeyConfig {
  const [first] = configs;
  if (!first) throw new Untrusted("The service offers no key that this browser can use (X25519 with AES-GCM).");
  const chosen = pins ? configs.find(({ fingerprint }) => pins.includes(fingerprint)) : first;
  if (!chosen) throw new Untrusted("None of the service's keys is a pinned one. Ask its operator before you go on.");
  return chosen;
}

/** Whether keys that come from this address, without pins, are those of the one that it names. */
export function isTrustworthy(url: URL): boolean {
  const host = url.hostname;
  return (
    url.protocol === "https:" ||
    host === "localhost" ||
    host.endsWith(".localhost") ||
    host === "[::1]" ||
    /^127(\.\d+){3}$/.test(host)
  );
}

async function parseConfig(bytes: Bytes): Promise<KeyConfig | undefined> {
  const reader = new Reader(bytes, malformed);
  const id = reader.uint(1);
  const kem = reader.uint(2);
  if (kem !== X25519) return undefined; // the size of its key is not known here, a hybrid one's for example
  const publicKey = reader.take(X25519_BYTES).slice();
  const suites = new Reader(reader.take(reader.uint(2)), malformed);
  if (reader.left > 0) throw malformed();
  let aead: AeadId | undefined;
  while (suites.left > 0) {
    const [kdf, offered] = [suites.uint(2), suites.uint(2)];
    if (kdf === HKDF_SHA256) aead ??= AEADS.find((known) => known === offered);
  }
  if (aead === undefined) return undefined;
  return { id, kem, kdf: HKDF_SHA256, aead, publicKey, fingerprint: await sha256(bytes) };
}

function malformed(): Untrusted {
  return new Untrusted("The service's key configuration is malformed.");
}
