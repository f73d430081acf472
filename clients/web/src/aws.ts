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
import { padded } from "./padding.ts";

/** A key that the service has too. name: as `python -m safelight.sealing.keys list` shows it. bytes: 32 of them. */
export interface AwsKey {
  readonly namespace?: string;
  readonly name: string;
  readonly bytes: Bytes;
}

const MEDIA_TYPE = "application/vnd.aws-encryption-sdk";
const NAMESPACE = "safelight";
const KEY_BYTES = 32;
const FRAME_BYTES = 64 * 1024; // the library's 4 kB are several times slower
const SUITE = AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY;
const { encrypt } = buildEncrypt(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
const { decrypt } = buildDecrypt(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);

export class AwsWrapper implements Wrapper {
  readonly protocol = "aws-encryption-sdk";
  readonly #key: AwsKey;
  readonly #now: () => number;
  #keyring: Promise<RawAesKeyringWebCrypto> | undefined;

  /** now: milliseconds since the epoch. */
  constructor(key: AwsKey, now: () => number) {
    [this.#key, this.#now] = [key, now];
  }

  get sealedWith(): string {
    return `${this.#key.namespace ?? NAMESPACE}/${this.#key.name}`;
  }

  async wrap(request: InnerRequest): Promise<Outgoing> {
    const keyring = await (this.#keyring ??= keyringOf(this.#key));
    const { result, messageHeader } = await encrypt(keyring, padded(encodeRequest(request)), {
      suiteId: SUITE,
      frameLength: FRAME_BYTES,
      encryptionContext: {
        data_type: "http",
        processing_stage: "request",
        session_id: crypto.randomUUID(), // another one each time, so that requests cannot be linked
        timestamp: new Date(this.#now()).toISOString(),
      },
    });
    const messageId = base64(messageHeader.messageId);
    return {
      target: request.target.split("?")[0]!, // options travel inside
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
  const expected = { data_type: "http", processing_stage: "response", in_reply_to: messageId };
  if (Object.entries(expected).some(([name, value]) => context[name] !== value)) throw new SealBroken();
  return decodeResponse(opened.plaintext as Bytes);
}

async function keyringOf({ namespace = NAMESPACE, name, bytes }: AwsKey): Promise<RawAesKeyringWebCrypto> {
  if (bytes.length !== KEY_BYTES) throw new Untrusted(`Expected an AES key of ${KEY_BYTES} bytes.`);
  const wrappingSuite = RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING;
  // A copy: what the library does with the bytes it is given is its own affair.
  const masterKey = await RawAesKeyringWebCrypto.importCryptoKey(bytes.slice(), wrappingSuite);
  return new RawAesKeyringWebCrypto({ keyNamespace: namespace, keyName: name, masterKey, wrappingSuite });
}
