// The build of the web UI. Everything that a browser loads comes from `dist`, by names that change with the contents.
import { defineConfig } from "vite";

// hostd on this machine, for `npm run dev`: `./bramble hostd` says its port.
const host = process.env.BRAMBLE_HOSTD ?? "http://127.0.0.1:8480";

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; worker-src 'self'; img-src 'self' data:; " +
  "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export default defineConfig({
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: {
    target: "es2022",
    outDir: "dist",
    // Small files stand alone: the content security policy has no `data:`.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  server: { proxy: { "/api": { target: host, ws: true }, "/metrics": host } },
  // As hostd sends them: what the policy forbids fails here, too.
  preview: { proxy: { "/api": { target: host, ws: true }, "/metrics": host }, headers: { "Content-Security-Policy": POLICY } },
});
