/** The client against a small gateway: what it sends, whom it trusts, and when it tries again. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { sha256 } from "../src/bytes.ts";
import { SafelightClient, type ClientOptions } from "../src/client.ts";
import { BadPicture, Refused, SealBroken, Unreachable, Untrusted } from "../src/errors.ts";
import { header } from "../src/messages.ts";
import { Gateway, type Reply } from "./gateway.ts";

const NOW = Date.UTC(2026, 10, 21, 10, 0, 0);
const FOUND: Reply = {
  body: {
    request_id: "abc",
    model: { name: "coco", version: "v1", digest: "d" },
    counts: { cat: 1 },
    annotations: [{ class_name: "cat", confidence: 0.9, data: { x_min: 1, y_min: 2, x_max: 3, y_max: 4 } }],
    timing_ms: { total: 5 },
  },
};
const PICTURE = new Blob(["the bytes of a picture, which nobody but the service reads"], { type: "image/png" });

async function setUp(
  reply: (request: unknown, count: number) => Reply = () => FOUND,
  options: ClientOptions = {},
): Promise<[SafelightClient, Gateway]> {
  const gateway = new Gateway(reply);
  await gateway.rotate();
  const client = new SafelightClient({ baseUrl: "https://gateway.example:8443", fetch: gateway.fetch, now: () => NOW, ...options });
  return [client, gateway];
}

for (const chunked of [false, true]) {
  test(`a picture goes sealed and boxes come back, ${chunked ? "in chunks" : "whole"}`, async () => {
    const large = new Blob([PICTURE, new Uint8Array(50_000)], { type: "image/png" });
    const [client, gateway] = await setUp(() => FOUND, { chunked, apiKey: "sl_x" });
    const answer = await client.detect(large, { model: "coco", threshold: 0.25, classes: ["cat", "dog"] });
    assert.deepEqual(answer.annotations, [{ className: "cat", confidence: 0.9, box: [1, 2, 3, 4] }]);
    assert.equal(answer.sealedWith, await sha256(await gateway.config()));
    assert.deepEqual(gateway.calls, ["GET /ohttp-keys", "POST /ohttp"]);
    const [request] = gateway.requests;
    assert.equal(request!.target, "/v1/detect?model=coco&threshold=0.25&classes=cat%2Cdog");
    assert.deepEqual([request!.method, request!.scheme, request!.authority], ["POST", "https", "gateway.example:8443"]);
    assert.equal(header(request!.headers, "date"), "Sat, 21 Nov 2026 10:00:00 GMT");
    assert.equal(header(request!.headers, "content-type"), "image/png");
    assert.equal(header(request!.headers, "authorization"), "Bearer sl_x");
    assert.deepEqual(request!.body, new Uint8Array(await large.arrayBuffer()));
    assert.ok(!new TextDecoder("latin1").decode(gateway.outer[0]).includes("picture"));
  });
}

test("the keys are fetched once, and again once when the gateway does not know them", async () => {
  const [client, gateway] = await setUp();
  await client.detect(PICTURE);
  await client.detect(PICTURE);
  await gateway.rotate();
  await client.detect(PICTURE);
  const [keys, post] = ["GET /ohttp-keys", "POST /ohttp"];
  assert.deepEqual(gateway.calls, [keys, post, post, post, keys, post]);
  gateway.config = async () => Uint8Array.of(99, ...(await Gateway.prototype.config.call(gateway)).slice(1));
  await gateway.rotate();
  gateway.calls.length = 0;
  await assert.rejects(client.detect(PICTURE), (error: Refused) => error.title === "No such key");
  assert.deepEqual(gateway.calls, [post, keys, post]);
});

test("a clock that is wrong is corrected once by the gateway's", async () => {
  const body = { type: "https://iana.org/assignments/http-problem-types#date", title: "Off", detail: "Set it." };
  const theirs = "Sat, 21 Nov 2026 11:30:00 GMT";
  const off: Reply = {
    status: 400,
    headers: [["content-type", "application/problem+json"], ["date", theirs]],
    body,
  };
  const [client, gateway] = await setUp((_, count) => (count === 1 ? off : FOUND));
  await client.detect(PICTURE);
  await client.detect(PICTURE);
  const dates = gateway.requests.map(({ headers }) => header(headers, "date"));
  assert.deepEqual(dates, ["Sat, 21 Nov 2026 10:00:00 GMT", theirs, theirs]);
  const [stubborn, always] = await setUp(() => off);
  await assert.rejects(stubborn.detect(PICTURE), (error: Refused) => error.title === "Off" && error.status === 400);
  assert.equal(always.requests.length, 2);
});

test("a sealed refusal is thrown with its words", async () => {
  const headers: Reply["headers"] = [["content-type", "application/problem+json"]];
  const body = { title: "No such model", detail: "Expected coco.", status: 404, request_id: "r1", retryable: false };
  const [client] = await setUp(() => ({ status: 404, headers, body }));
  await assert.rejects(client.models(), (error: Refused) => {
    assert.deepEqual([error.title, error.detail, error.status, error.requestId], ["No such model", "Expected coco.", 404, "r1"]);
    return error instanceof Refused;
  });
});

test("only pinned keys are used, and without pins none that came over plain http from elsewhere", async () => {
  const [, gateway] = await setUp();
  const fingerprint = await sha256(await gateway.config());
  const options = { baseUrl: "http://gateway.example", fetch: gateway.fetch };
  assert.throws(() => new SafelightClient(options), Untrusted);
  const pinned = new SafelightClient({ ...options, pins: [fingerprint.toUpperCase()] });
  assert.equal((await pinned.detect(PICTURE)).sealedWith, fingerprint);
  await gateway.rotate();
  await assert.rejects(pinned.detect(PICTURE), Untrusted);
  const calls = gateway.calls.length;
  await assert.rejects(new SafelightClient({ ...options, pins: ["00"] }).detect(PICTURE), Untrusted);
  assert.deepEqual(gateway.calls.slice(calls), ["GET /ohttp-keys"]);
});

test("through a relay, only envelopes go, and only there", async () => {
  const urls: string[] = [];
  const [, gateway] = await setUp();
  const network = (async (url: URL, init: RequestInit) => {
    urls.push(url.href);
    return gateway.fetch(url, init);
  }) as typeof fetch;
  const relay = "https://relay.example/pass/on";
  const [client] = await setUp(undefined, { fetch: network, relay });
  await client.detect(PICTURE);
  assert.deepEqual(urls, ["https://gateway.example:8443/ohttp-keys", relay]);
});

test("no answer, an answer that does not open, and an empty picture", async () => {
  const dead = (async () => Promise.reject(new TypeError("refused"))) as typeof fetch;
  await assert.rejects((await setUp(undefined, { fetch: dead }))[0].detect(PICTURE), Unreachable);
  const [, gateway] = await setUp();
  const forging = (async (url: URL, init: RequestInit) => {
    const answer = await gateway.fetch(url, init);
    if (url.pathname === "/ohttp-keys") return answer;
    const body = new Uint8Array(await answer.arrayBuffer());
    body[20]! ^= 1;
    return new Response(body, { headers: answer.headers });
  }) as typeof fetch;
  await assert.rejects((await setUp(undefined, { fetch: forging }))[0].detect(PICTURE), SealBroken);
  const unsealed = (async (url: URL, init: RequestInit) =>
    url.pathname === "/ohttp-keys" ? gateway.fetch(url, init) : Response.json(FOUND.body)) as typeof fetch;
  await assert.rejects((await setUp(undefined, { fetch: unsealed }))[0].detect(PICTURE), Refused);
  await assert.rejects((await setUp())[0].detect(new Blob()), BadPicture);
});

test("keys that could not be had are asked for again", async () => {
  let down = true;
  const [, gateway] = await setUp();
  const flaky = (async (url: URL, init: RequestInit) => {
    if (down) throw new TypeError("refused");
    return gateway.fetch(url, init);
  }) as typeof fetch;
  const [client] = await setUp(undefined, { fetch: flaky });
  await assert.rejects(client.detect(PICTURE), Unreachable);
  down = false;
  assert.equal((await client.detect(PICTURE)).counts["cat"], 1);
});

const READ: Reply = {
  body: {
    success: true, request_id: "r", keyway: "SC1", bitting: "2,5,4,7,3", brand: "Schlage", lockType: null, confidence: 0.9,
    risk: { level: "low", score: 20, reasons: [] }, quality: { sharpness: 400 }, timestamp: "2026-11-21T10:00:00.000Z",
    api_version: "1", sources: { keyway: "read from the picture" },
    model: { name: "keys", version: "v1", digest: "d", base: { name: "offline-135m", version: "v1", digest: "b" } },
  },
};

test("a picture is read: fields of a key, or of another task under their own name", async () => {
  const [client, gateway] = await setUp((_, count) =>
    count === 1 ? READ : { body: { ...(READ.body as object), fields: { value: 4217 } } },
  );
  const key = await client.read(PICTURE, { model: "keys", zipcode: "94107" });
  assert.equal(gateway.requests[0]!.target, "/v1/read?model=keys&zipcode=94107");
  assert.deepEqual(Object.keys(key.fields), ["keyway", "bitting", "brand", "lockType", "risk"]);
  assert.deepEqual([key.confidence, key.model.base.name, key.requestId], [0.9, "offline-135m", "r"]);
  assert.equal(key.sealedWith, await sha256(await gateway.config()));
  assert.deepEqual((await client.read(PICTURE)).fields, { value: 4217 });
  assert.equal(gateway.requests[1]!.target, "/v1/read");
});

test("a picture that is too poor is refused with what to do", async () => {
  const problems = [{ measure: "sharpness", value: 3, limit: 8, advice: "Hold the camera still." }];
  const [client] = await setUp(() => ({
    status: 422,
    headers: [["content-type", "application/problem+json"]],
    body: { type: "/docs/serving.md#poor-picture", title: "Too poor", status: 422, detail: "Hold the camera still.", problems },
  }));
  await assert.rejects(client.read(PICTURE), (error) => {
    assert.ok(error instanceof Refused && error.status === 422);
    assert.deepEqual(error.problems, problems);
    return true;
  });
});
