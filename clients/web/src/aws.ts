/**
 * AWS Encryption SDK messages, for those who share a raw AES key with the service. A bundle of its own: most of it is the
 * library. The context of a message travels in the clear, authenticated.
 */

import { buildDecrypt } from "@aws-crypto/decrypt-browser";
import { buildEncrypt } from "@aws-crypto/encrypt-browser";
import { AlgorithmSuiteIdentifier, CommitmentPolicy } from "@aws-crypto/material-management-browser";
import { RawAesKeyringWebCrypto, RawAesWrappingSuiteIdentifier } from "@aws-crypto/raw-aes-keyring-browser";

import { decodeResponse, encodeRequest } from "./bhttp.ts";
import { base64, type Bytes } from "./bytes.ts";
import { SealBroken, Untrusted } from "./errors.ts";
import type { InnerRequest, InnerResponse, Outgoing, Wrapper } from "./messages.ts";

/** A key that the service has too, under the same namespace and name. bytes: 16 or 32 of them. */
export interface AwsKey {
  readonly namespace: string;
  readonly name: string;
  readonly bytes: Bytes;
}

const MEDIA_TYPE = "application/vnd.aws-encryption-sdk";
const TARGET = "/v1/detect";
const FRAME_BYTES = 64 * 1024; // the library's 4 kB are several times slower
const SUITE = AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY;
/** By the bytes of the key. Chromium has no AES-192. */
const WRAPPING = {
  16: RawAesWrappingSuiteIdentifier.AES128_GCM_IV12_TAG16_NO_PADDING,
  32: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
} as const;
const { encrypt } = buildEncrypt(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
const { decrypt } = buildDecrypt(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);

/** sessionId: a random name that requests of one page have in common. now: milliseconds since the epoch. */
export interface AwsOptions {
  readonly sessionId: string;
  readonly now: () => number;
}

export class AwsWrapper implements Wrapper {
  readonly protocol = "aws-encryption-sdk";
  readonly #key: AwsKey;
  readonly #options: AwsOptions;
  #keyring: Promise<RawAesKeyringWebCrypto> | undefined;

  constructor(key: AwsKey, options: AwsOptions) {
    [this.#key, this.#options] = [key, options];
  }

  get sealedWith(): string {
    return `${this.#key.namespace}/${this.#key.name}`;
  }

  async wrap(request: InnerRequest): Promise<Outgoing> {
    const keyring = await (this.#keyring ??= keyringOf(this.#key));
    const { result, messageHeader } = await encrypt(keyring, encodeRequest(request), {
      suiteId: SUITE,
      frameLength: FRAME_BYTES,
      encryptionContext: {
        data_type: "http",
        processing_stage: "request",
        session_id: this.#options.sessionId,
        timestamp: new Date(this.#options.now()).toISOString(),
      },
    });
    const messageId = base64(messageHeader.messageId);
    return {
      target: TARGET,
      headers: { "content-type": MEDIA_TYPE },
      body: new Blob([result as Bytes]),
      answerType: MEDIA_TYPE,
      open: (answer) => open(keyring, answer, messageId),
    };
  }
}

async function open(keyring: RawAesKeyringWebCrypto, answer: Bytes, messageId: string): Promise<InnerResponse> {
  const opened = await decrypt(keyring, answer).catch(() => {
    throw new SealBroken(); // the library says which step failed: nobody is to learn that
  });
  const context = opened.messageHeader.encryptionContext;
  if (context["processing_stage"] !== "response" || context["in_reply_to"] !== messageId) throw new SealBroken();
  return decodeResponse(opened.plaintext as Bytes);
}

async function keyringOf({ namespace, name, bytes }: AwsKey): Promise<RawAesKeyringWebCrypto> {
  const wrappingSuite = WRAPPING[bytes.length as keyof typeof WRAPPING];
  if (wrappingSuite === undefined) throw new Untrusted("Expected an AES key of 16 or 32 bytes.");
  // A copy: what the library does with the bytes it is given is its own affair.
  const masterKey = await RawAesKeyringWebCrypto.importCryptoKey(bytes.slice(), wrappingSuite);
  return new RawAesKeyringWebCrypto({ keyNamespace: namespace, keyName: name, masterKey, wrappingSuite });
}
