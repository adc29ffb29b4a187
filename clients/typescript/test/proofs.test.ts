import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  AnchorError,
  ApiError,
  Client,
  type Json,
  loadAnchor,
  parse,
  ProofError,
  stringify,
  type TrustAnchor,
  verifyProof,
} from "../src/index.js";
import { ANCHOR, connect, fresh, serve, through, TOKEN, URLS } from "./cluster.js";

interface Vectors {
  anchors: TrustAnchor[];
  answers: Json[];
  cases: { name: string; anchor: number; answer: number; changes: Change[]; verdict: string }[];
}
type Path = (string | number)[];
type Change = [Path] | [Path, Json] | [Path, number, number, string];
type Place = { [name: string | number]: Json };

// From build/test: the same file that the Python client's tests judge and write.
const FILE = new URL("../../../../tests/vectors/proofs.json", import.meta.url);

function changed(base: Json, changes: Change[]): Json {
  const root = { answer: parse(stringify(base)) };
  for (const [path, ...made] of changes) {
    const steps: Path = ["answer", ...path];
    const last = steps.pop() as string | number;
    let place = root as Place;
    for (const name of steps) place = place[name] as Place;
    if (made.length === 0) delete place[last];
    else if (made.length === 1) place[last] = made[0];
    else {
      const [held, [start, end, text]] = [place[last] as string, made];
      place[last] = held.slice(0, start) + text + held.slice(end);
    }
  }
  return root.answer;
}

async function verdict(answer: Json, anchor: TrustAnchor): Promise<string> {
  try {
    const proven = await verifyProof(stringify(answer), anchor);
    return proven.document === null ? "absent" : "present";
  } catch (error) {
    if (error instanceof ProofError) return error.code;
    throw error;
  }
}

const trusting = (urls: readonly string[] = URLS): Client =>
  new Client(urls, TOKEN, { anchor: ANCHOR, follow: false });
const refused = (code: string) => (error: unknown) => error instanceof ProofError && error.code === code;

test("every forgery meets the refusal that the Python client has for it", async () => {
  const { anchors, answers, cases } = parse(readFileSync(FILE, "utf8")) as unknown as Vectors;
  assert.ok(cases.length > 400);
  for (const { name, anchor, answer, changes, verdict: wanted } of cases) {
    const trusted = loadAnchor(stringify(anchors[anchor]));
    assert.equal(await verdict(changed(answers[answer] as Json, changes), trusted), wanted, name);
  }
});

test("what is no proof and no anchor is said to be none", async () => {
  for (const text of ["", "[]", "null", "7", "{", '{"proof": 1}', '{"_proof": null}']) {
    await assert.rejects(verifyProof(text, ANCHOR), refused("malformed"), text);
  }
  const [first] = ANCHOR.validators;
  const wrong = [
    { ...ANCHOR, cluster_id: "AB".repeat(16) },
    { ...ANCHOR, version: 2 },
    { ...ANCHOR, epoch: -1 },
    { ...ANCHOR, validators: [] },
    { ...ANCHOR, validators: [first, first] },
    { ...ANCHOR, validators: [{ id: 0, public_key: "x" }] },
    { ...ANCHOR, validators: null },
  ];
  for (const anchor of wrong) assert.throws(() => loadAnchor(stringify(anchor)), AnchorError);
  assert.throws(() => loadAnchor("{"), AnchorError);
  assert.throws(() => loadAnchor("null"), AnchorError);
});

test("documents and their absence are proven by a real node", async () => {
  const [client, name] = [trusting(), fresh("proven")];
  const put = await client.put(name, "a", { n: 2n ** 63n - 1n, at: { real: -1.5e-7 } });
  const { _proof: proof, ...document } = await client.get(name, "a", { proof: true });
  assert.deepEqual(document, put);
  const kept = stringify({ ...document, _proof: proof });
  assert.equal(stringify((await verifyProof(kept, ANCHOR)).document), stringify(put));
  assert.equal(await client.find(name, "b", { proof: true }), undefined);
  await assert.rejects(client.get(name, "b", { proof: true }), (error) => {
    return error instanceof ApiError && error.code === "not_found";
  });
  assert.equal(await trusting().find(fresh("nowhere"), "b", { proof: true }), undefined);
  // A client without an anchor passes the proof on, unchecked.
  assert.ok((await connect().get(name, "a", { proof: true }))._proof);
});

/** A door that tells lies: `lie` gets an answer's status and body, and returns those that are told. */
async function lying(lie: (status: number, body: Json) => [number, Json]): Promise<Client> {
  const door = await serve(
    through((from, to) => {
      let text = "";
      from.setEncoding("utf8");
      from.on("data", (part: string) => (text += part));
      from.on("end", () => {
        const [status, body] = lie(from.statusCode ?? 500, parse(text));
        const sequence = String(from.headers["aerolith-sequence"] ?? "");
        to.writeHead(status, { "content-type": "application/json", "aerolith-sequence": sequence });
        to.end(stringify(body));
      });
    }),
  );
  return trusting([door.url]);
}

test("a node that lies is believed nothing but what is proven", async () => {
  const [honest, name] = [trusting(), fresh("lies")];
  await honest.put(name, "a", { n: 1 });
  const old = await honest.get(name, "a", { proof: true });
  await honest.put(name, "a", { n: 2 });
  await honest.put(name, "b", { n: 3 });
  const other = (await honest.get(name, "b", { proof: true })) as unknown as Json;
  const read = { proof: true } as const;

  const beside = await lying((status, body) => [status, { ...(body as object), n: 8 } as Json]);
  assert.equal((await beside.get<{ n: number }>(name, "a", read)).n, 2, "it is read from the proof");
  const bare = await lying(() => [200, { _id: "a", n: 8 }]);
  await assert.rejects(bare.get(name, "a", read), refused("missing"));
  const swapping = await lying(() => [200, other]);
  await assert.rejects(swapping.get(name, "a", read), refused("other_document"));
  const hiding = await lying((_status, body) => {
    return [404, { code: "not_found", proof: (body as { _proof: Json })._proof }];
  });
  await assert.rejects(hiding.get(name, "a", read), refused("is_present"));
  const silent = await lying(() => [404, { code: "not_found" }]);
  await assert.rejects(silent.find(name, "a", read), refused("missing"));
  const inventing = await lying((_status, body) => {
    return [200, { _id: "x", n: 1, _proof: (body as { proof: Json }).proof }];
  });
  await assert.rejects(inventing.get(name, "x", read), refused("is_absent"));

  // An older state, however well signed, is no answer to who has seen a newer one.
  let isReplaying = false;
  const replaying = await lying((status, body) => {
    return isReplaying ? [200, old as unknown as Json] : [status, body];
  });
  await replaying.get(name, "a", read);
  isReplaying = true;
  await assert.rejects(replaying.get(name, "a", read), refused("stale"));
  const local = await replaying.get<{ n: number }>(name, "a", { proof: true, consistency: "local" });
  assert.equal(local.n, 1, "who asks for what may be older gets it");
});
