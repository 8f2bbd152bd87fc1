// Packs a folder of built files for hostd: `node pack.mjs FOLDER PACK`. The form is that of crates/models/management/src/web.rs:
// a line for each file, an empty line, then the files, compressed by Brotli as far as it goes.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { extname, join, relative, sep } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";

const KINDS = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".webmanifest": "application/manifest+json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".ico": "image/x-icon",
  ".woff2": "font/woff2",
  ".txt": "text/plain; charset=utf-8",
};

function filesUnder(folder) {
  const entries = readdirSync(folder, { withFileTypes: true });
  const found = entries.flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? filesUnder(path) : [path];
  });
  // In an order that does not depend on the machine: the same files make the same pack.
  return found.sort();
}

const [folder, pack] = process.argv.slice(2);
if (!pack) throw new Error("usage: node pack.mjs FOLDER PACK");
let lines = "bramble-web 1\n";
const contents = [];
for (const file of filesUnder(folder)) {
  const path = "/" + relative(folder, file).split(sep).join("/");
  const kind = KINDS[extname(file)];
  if (!kind) throw new Error(`${path} has a type that pack.mjs does not know: add it to KINDS, or leave the file out`);
  const bytes = readFileSync(file);
  const content = brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  });
  const tag = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
  lines += `${path}\t${kind}\t${tag}\t${content.length}\n`;
  contents.push(content);
}
if (!lines.includes("\n/index.html\t")) throw new Error(`${folder} has no index.html: is it what vite built?`);
writeFileSync(pack, Buffer.concat([Buffer.from(lines + "\n"), ...contents]));
