/**
 * Hybrid Public Key Encryption (RFC 9180) by a library: X25519 of WebCrypto where the browser has it, else the library's
 * own. Knows nothing of HTTP.
 */

import { Aes128Gcm, Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256, type SenderContext } from "@hpke/core";
import { DhkemX25519HkdfSha256 as PortableX25519 } from "@hpke/dhkem-x25519";

import type { Bytes } from "./bytes.ts";
import type { AeadId, KeyConfig } from "./keys.ts";

/** Bytes of key and nonce. */
export const SIZES: Readonly<Record<AeadId, { key: number; nonce: number }>> = {
  0x0001: { key: 16, nonce: 12 },
  0x0002: { key: 32, nonce: 12 },
};

let native: Promise<boolean> | undefined;

/** Whether WebCrypto has X25519: Chromium since 133, Firefox since 130, Safari since 17. */
function hasX25519(): Promise<boolean> {
  return (native ??= crypto.subtle.generateKey("X25519", false, ["deriveBits"]).then(
    () => true,
    () => false,
  ));
}

export async function suiteFor(aead: AeadId, portable?: boolean): Promise<CipherSuite> {
  const own = portable ?? !(await hasX25519());
  return new CipherSuite({
    kem: own ? new PortableX25519() : new DhkemX25519HkdfSha256(),
    kdf: new HkdfSha256(),
    aead: aead === 0x0001 ? new Aes128Gcm() : new Aes256Gcm(),
  });
}

/** A sending context for a gateway's key. ephemeral: the key pair, for test vectors only. */
export async function sender(
  config: KeyConfig,
  info: Bytes,
  ephemeral?: CryptoKeyPair,
  portable?: boolean,
): Promise<SenderContext> {
  const suite = await suiteFor(config.aead, portable);
  const recipientPublicKey = await suite.kem.deserializePublicKey(config.publicKey);
  return suite.createSenderContext({ recipientPublicKey, info, ...(ephemeral && { ekm: ephemeral }) });
}
