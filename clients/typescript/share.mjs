// Puts beside the compiled client what it shares with the portal's pages: the one check of proofs.

import { cpSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const out = join(process.argv[2], "shared");
const shared = fileURLToPath(new URL("../../static/", import.meta.url));
const types = fileURLToPath(new URL("src/shared/", import.meta.url));

function take(folder, names) {
  mkdirSync(join(out, folder), { recursive: true });
  for (const name of names) cpSync(join(shared, folder, name), join(out, folder, name));
}

take("proofs", ["encoding.js", "verify.js"]);
take("vendor/noble-hashes", readdirSync(join(shared, "vendor/noble-hashes")));
cpSync(types, out, { recursive: true });
