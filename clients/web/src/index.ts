/** Safelight in the browser: check and strip a picture, seal it, send it, open the answer. */

export { SafelightClient } from "./client.ts";
export type { Annotation, Answer, ClientOptions, DetectOptions, Model, Models, ReadOptions } from "./client.ts";
export type { Reading } from "./readings.ts";
export type { AwsKey } from "./aws.ts";
export type { PictureProblem } from "./errors.ts";
export { BadPicture, Refused, SafelightError, SealBroken, Unreachable, Untrusted } from "./errors.ts";
export { inspect, sniff } from "./inspect.ts";
export { measure } from "./quality.ts";
export { LIMITS, prepare } from "./picture.ts";
export type { Check, Limits, Prepared } from "./picture.ts";
