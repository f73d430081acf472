/**
 * The AWS Encryption SDK for JavaScript, at the disposal of tests in Python: takes a list of jobs as JSON on standard input,
 * gives a list of results on standard output. Bytes are in base64. What fails gives {"error": its name}.
 */

import {
  AlgorithmSuiteIdentifier,
  buildClient,
  CommitmentPolicy,
  getClient,
  KMS,
  KmsKeyringNode,
  RawAesKeyringNode,
  RawAesWrappingSuiteIdentifier,
  RawRsaKeyringNode,
} from "@aws-crypto/client-node";

const COMMITTING = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
const CARELESS = buildClient(CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT);

const bytes = (text) => Buffer.from(text, "base64");

const KEYRINGS = {
  aes: ({ namespace, name, key }) =>
    new RawAesKeyringNode({
      keyNamespace: namespace,
      keyName: name,
      unencryptedMasterKey: new Uint8Array(bytes(key)), // its own memory: the library insists
      wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
    }),
  rsa: ({ namespace, name, publicKey, privateKey }) =>
    new RawRsaKeyringNode({
      keyNamespace: namespace,
      keyName: name,
      rsaKey: { publicKey, privateKey },
      oaepHash: "sha256",
    }),
  kms: ({ arn, endpoint }) =>
    new KmsKeyringNode({
      generatorKeyId: arn,
      clientProvider: getClient(KMS, {
        endpoint,
        credentials: { accessKeyId: "testing", secretAccessKey: "testing" },
      }),
    }),
};

const JOBS = {
  async seal({ keyring, plain, context, suite, frameLength, careless = false }) {
    const { result, messageHeader } = await (careless ? CARELESS : COMMITTING).encrypt(keyring, bytes(plain), {
      encryptionContext: context,
      ...(suite && { suiteId: AlgorithmSuiteIdentifier[suite] }),
      ...(frameLength && { frameLength }),
    });
    return { message: result.toString("base64"), messageId: Buffer.from(messageHeader.messageId).toString("base64") };
  },
  async open({ keyring, message }) {
    const { plaintext, messageHeader } = await COMMITTING.decrypt(keyring, bytes(message));
    return { plain: plaintext.toString("base64"), context: messageHeader.encryptionContext };
  },
};

async function done({ job, keyring, ...rest }) {
  try {
    return await JOBS[job]({ keyring: KEYRINGS[keyring.kind](keyring), ...rest });
  } catch (error) {
    return { error: error.name };
  }
}

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const results = [];
for (const job of JSON.parse(Buffer.concat(chunks))) results.push(await done(job));
process.stdout.write(JSON.stringify(results));
