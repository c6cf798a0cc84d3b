// Builds ../static from src: `npm ci && npm run build`. The result depends on the files here alone and is committed.

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const SOURCE = dirname(fileURLToPath(import.meta.url));
const STATIC = join(SOURCE, "..", "static");
const ASSETS_URL = "graphiql/"; // relative to /graphql, so that a path prefix in front of the API does no harm
const LICENSES_BANNER = "/*! Third-party licences: LICENSES.txt beside this file */";

await rm(STATIC, { recursive: true, force: true });
await mkdir(STATIC);

const { metafile } = await build({
  absWorkingDir: SOURCE,
  entryPoints: { page: "src/page.jsx", guard: "src/guard.js", icon: "src/icon.svg" },
  outdir: STATIC,
  entryNames: "[name]-[hash]",
  assetNames: "asset-[hash]",
  bundle: true,
  minify: true,
  charset: "utf8",
  format: "iife",
  target: ["chrome110", "firefox115", "safari16.4"],
  jsx: "automatic",
  define: { "process.env.NODE_ENV": '"production"' },
  alias: { "react-style-singleton": join(SOURCE, "src/style_singleton.js") },
  loader: { ".svg": "copy" },
  legalComments: "none",
  banner: { js: LICENSES_BANNER, css: LICENSES_BANNER },
  plugins: [
    { name: "data-urls-to-files", setup: moveDataUrlsToFiles },
    { name: "headers-out-of-history", setup: leaveHeadersOutOfHistory },
  ],
  metafile: true,
  logLevel: "warning",
});

await writeFile(join(STATIC, "index.html"), await page());
await writeFile(join(STATIC, "LICENSES.txt"), await licenses());
await writeFile(join(STATIC, "SOURCE.sha256"), `${await sourceDigest()}\n`);

/** Fonts and images written into GraphiQL's style sheets become files: `default-src 'self'` then needs no exception. */
function moveDataUrlsToFiles(builder) {
  const contents = new Map();
  builder.onLoad({ filter: /node_modules.*\.css$/ }, async ({ path }) => {
    const css = await readFile(path, "utf8");
    const dataUrl = /url\(\s*["']?data:(?:font|image)\/([a-z0-9]+);base64,([A-Za-z0-9+/=]+)["']?\s*\)/g;
    const moved = css.replace(dataUrl, (_, suffix, data) => {
      const bytes = Buffer.from(data, "base64");
      const name = `${createHash("sha256").update(bytes).digest("hex")}.${suffix}`;
      contents.set(name, bytes);
      return `url("data-url:${name}")`;
    });
    return { contents: moved, loader: "css" };
  });
  builder.onResolve({ filter: /^data-url:/ }, ({ path }) => ({
    path: path.slice("data-url:".length),
    namespace: "data-url",
  }));
  builder.onLoad({ filter: /.*/, namespace: "data-url" }, ({ path }) => ({
    contents: contents.get(path),
    loader: "file",
  }));
}

/** GraphiQL's history would keep each query's headers in localStorage and bring old ones back: no place for a token. */
function leaveHeadersOutOfHistory(builder) {
  const cuts = {
    "context.js": "headers: activeTab.headers ?? void 0,",
    "components.js": 'headerEditor == null ? void 0 : headerEditor.setValue(headers ?? "");',
  };
  const files = /@graphiql[/\\]plugin-history[/\\]dist[/\\](context|components)\.js$/;
  builder.onLoad({ filter: files }, async ({ path }) => {
    const text = await readFile(path, "utf8");
    const cut = cuts[basename(path)];
    if (text.split(cut).length !== 2) throw new Error(`${path} no longer holds exactly one: ${cut}`);
    return { contents: text.replace(cut, ""), loader: "js" };
  });
}

async function page() {
  const template = await readFile(join(SOURCE, "index.html"), "utf8");
  const names = await readdir(STATIC);
  return template.replace(/\{\{(\w+)\.(\w+)\}\}/g, (_, stem, suffix) => {
    const name = names.find((candidate) => candidate.startsWith(`${stem}-`) && candidate.endsWith(`.${suffix}`));
    if (!name) throw new Error(`The page names ${stem}.${suffix}, which was not built.`);
    return ASSETS_URL + name;
  });
}

async function licenses() {
  const packages = new Map();
  for (const output of Object.values(metafile.outputs)) {
    for (const [input, { bytesInOutput }] of Object.entries(output.inputs)) {
      const found = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input);
      if (!found || bytesInOutput === 0) continue;
      const about = JSON.parse(await readFile(join(SOURCE, found[1], "package.json"), "utf8"));
      packages.set(`${about.name} ${about.version}`, { about, text: await licenseText(join(SOURCE, found[1]), about) });
    }
  }
  const parts = [...packages.entries()]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([title, { about, text }]) => `${title} (${about.license})\n\n${text.trim()}`);
  // The fonts' own name tables say so; their texts are not in GraphiQL's packages.
  for (const [title, text] of [
    ["Roboto 2.137 (Apache-2.0). Copyright 2011 Google Inc. All Rights Reserved.", "apache-2.0"],
    ["Fira Code 5.002 (OFL-1.1). Copyright 2014-2020 The Fira Code Project Authors", "ofl-1.1"],
  ]) {
    parts.push(`${title}\n\n${(await readFile(join(SOURCE, "licenses", `${text}.txt`), "utf8")).trim()}`);
  }
  const rule = `\n\n${"-".repeat(100)}\n\n`;
  const introduction = "The GraphiQL page holds code and fonts of these projects, under these licences.";
  return `${[introduction, ...parts].join(rule).replace(/\r/g, "").replace(/[ \t]+$/gm, "")}\n`;
}

async function licenseText(directory, about) {
  const isLicense = (name) => /^(licen[cs]e|copying|copyrightnotice|thirdpartynotices)/i.test(name);
  const names = (await readdir(directory)).filter(isLicense).sort();
  if (names.length > 0) {
    const texts = await Promise.all(names.map((name) => readFile(join(directory, name), "utf8")));
    return texts.join("\n\n");
  }
  // Published without its licence's text: the text of its own repository, as another package of it carries it.
  const repository = about.repository?.url ?? about.repository ?? "";
  const siblings = { "graphql/graphiql": "@graphiql/react", "facebook/react": "react" };
  const sibling = siblings[/github\.com\/([^/]+\/[^/.]+)/.exec(repository)?.[1]];
  const siblingLicense = join(SOURCE, "node_modules", sibling ?? "", "LICENSE");
  if (sibling && existsSync(siblingLicense)) return readFile(siblingLicense, "utf8");
  const author = typeof about.author === "object" ? about.author.name : about.author?.replace(/ *[<(].*/, "");
  if (about.license !== "MIT" || !author) throw new Error(`${about.name}: no licence text found.`);
  return (await readFile(join(SOURCE, "licenses", "mit.txt"), "utf8")).replace("{holder}", author);
}

/** Over every file here, in the order of their paths; tests/api/test_graphiql.py computes the same. */
async function sourceDigest() {
  const digest = createHash("sha256");
  const paths = (await readdir(SOURCE, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(SOURCE.length + 1).replaceAll("\\", "/"))
    .filter((path) => !path.startsWith("node_modules/"))
    .sort((one, other) => (one < other ? -1 : 1));
  for (const path of paths) digest.update(`${path}\0`).update(await readFile(join(SOURCE, path))).update("\0");
  return digest.digest("hex");
}
