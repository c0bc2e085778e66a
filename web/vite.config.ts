// The build: one page, one script, one style, as files that any static server can give, and `build.json`, which says
// what they were built from, so that a test without Node can tell whether they are of these sources.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { defineConfig, type Plugin } from "vite";

const ROOT = import.meta.dirname;
const SOURCES = ["index.html", "package-lock.json", "package.json", "public", "src", "tsconfig.json", "vite.config.ts"];
const BUNDLED = ["three"]; // what is in the build and not ours: its licence goes with it

function files(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path).flatMap((name) => files(join(path, name)));
}

const sha256 = (content: string | Buffer): string => createHash("sha256").update(content).digest("hex");

/** Path and content of each file, in the order of the paths. */
function digests(root: string, paths: string[]): Record<string, string> {
  const named = paths.map((path) => [relative(root, path).replaceAll("\\", "/"), sha256(readFileSync(path))] as const);
  return Object.fromEntries(named.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function provenance(): Plugin {
  let out = "";
  return {
    name: "provenance",
    configResolved(config) {
      out = resolve(ROOT, config.build.outDir);
    },
    closeBundle() {
      const licences = BUNDLED.map((name) => {
        const folder = join(ROOT, "node_modules", name);
        const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { version: string };
        return `${name} ${version}\n\n${readFileSync(join(folder, "LICENSE"), "utf8").trim()}\n`;
      });
      writeFileSync(join(out, "LICENSES.txt"), licences.join("\n"));
      const sources = digests(ROOT, SOURCES.map((name) => join(ROOT, name)).flatMap(files));
      const built = digests(out, files(out).filter((path) => !path.endsWith("build.json")));
      writeFileSync(join(out, "build.json"), `${JSON.stringify({ sources, files: built }, null, 1)}\n`);
    },
  };
}

export default defineConfig({
  root: ROOT,
  base: "./",
  build: {
    outDir: process.env["BODYSTREAM_WEB_OUT"] ?? "../runtime/bodystream/web/client",
    emptyOutDir: true,
    target: "es2022",
    sourcemap: false,
    assetsInlineLimit: 0,
    modulePreload: false,
    chunkSizeWarningLimit: 1200,
  },
  plugins: [provenance()],
});
