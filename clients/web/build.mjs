// Builds the files that the gateway serves, or with --tests the module and its tests for node. Deterministic: the same
// sources and lock file give the same bytes.
import { copyFile, mkdir, readdir } from "node:fs/promises";
import { build } from "esbuild";

const testing = process.argv.includes("--tests");
const OUT = process.env.SAFELIGHT_WEB_OUT ?? (testing ? "out" : "../../serving/page/dist");

/** What is a file of its own among the shipped ones: the source that is imported, and the name it is loaded by. */
const BOUNDARIES = { "index.ts": "./safelight.js", "aws.ts": "./aws.js" };

const boundaries = {
  name: "boundaries",
  setup({ onResolve }) {
    onResolve({ filter: /(^|\/)(index|aws)\.ts$/ }, ({ path, kind }) => {
      const file = path.split("/").at(-1);
      return kind === "entry-point" ? undefined : { path: BOUNDARIES[file], external: true };
    });
  },
};

const common = { bundle: true, format: "esm", target: "es2022", legalComments: "none", logLevel: "warning" };
const aws = { inject: ["src/buffer.ts"], define: { global: "globalThis" } };

if (testing) {
  const tests = (await readdir("test")).filter((name) => name.endsWith(".test.ts")).map((name) => `test/${name}`);
  await build({ ...common, ...aws, entryPoints: tests, outdir: OUT, outExtension: { ".js": ".mjs" }, platform: "node" });
} else {
  const shipped = { ...common, minify: true, charset: "utf8", plugins: [boundaries] };
  await mkdir(OUT, { recursive: true });
  await build({ ...shipped, entryPoints: { safelight: "src/index.ts", app: "src/page/app.ts" }, outdir: OUT });
  await build({ ...shipped, ...aws, entryPoints: { aws: "src/aws.ts" }, outdir: OUT });
  await build({ ...shipped, plugins: [], entryPoints: { style: "src/page/style.css" }, outdir: OUT });
  for (const name of ["index.html", "icon.svg"]) await copyFile(`src/page/${name}`, `${OUT}/${name}`);
}
