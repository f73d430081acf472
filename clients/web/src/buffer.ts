// What the AWS Encryption SDK expects to find as a global.
export { Buffer } from "buffer";
