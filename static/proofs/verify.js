// Checks a proof, apart from the portal and from the nodes: docs/protocol.md says what is hashed and
// signed. Codes of failure are those of `dataplane.client.proofs`. The browser runs it, and so does the
// TypeScript client, whose package takes these files as they are.

import { blake3 } from "../vendor/noble-hashes/blake3.js";
import { bytesOfBase64, bytesOfHex, concat, decodeMessagePack, EncodingError, isEqual, numberBytes, numberOf, sameBytes, utf8 } from "./encoding.js";

const KEY_HASH_BYTES = 16;
const HASH_BYTES = 32;
const COUNT_BYTES = 8;
const ENTRY_BYTES = KEY_HASH_BYTES + HASH_BYTES;
const CHILD_BYTES = HASH_BYTES + COUNT_BYTES;
const SIBLING_BYTES = 15 * CHILD_BYTES;
const LEVELS_MAX = 2 * KEY_HASH_BYTES;
const BUCKET_ENTRIES_MAX = 32;
const EPOCH_CHANGES_MAX = 64;
const MEMBERS_MAX = 31;
const HEADER_BYTES = 24;
const NUMBER_MAX = 2n ** 63n - 1n;
const COUNT_MAX = 2n ** 64n - 1n;
const COLLECTION_ID_MAX = 2 ** 32;
const YEAR_10000_US = 253402300800000000n;
const HEX = /^(?:[0-9a-f]{2})*$/;

export class ProofError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const malformed = (message) => new ProofError("malformed", message);
const hash = (...parts) => blake3(concat(...parts));
const isNumber = (value) => typeof value === "bigint" || Number.isSafeInteger(value);
const isHex = (value, digits) => typeof value === "string" && value.length === digits && HEX.test(value);

/** q(n) = ceil((n + f + 1) / 2) with f = (n - 1) // 3. */
export const quorumOf = (n) => Math.ceil((n + Math.floor((n - 1) / 3) + 1) / 2);

/**
 * Checks an answer of a node, a document with `_proof` or a refusal with `proof`, against an anchor.
 * Answers what is proven; `document` is null when it is proven that there is none. Throws ProofError.
 */
export async function verifyAnswer(answer, anchor) {
  try {
    if ("_proof" in answer) {
      const { _proof: proof, ...shown } = answer;
      const proven = await verifyProof(proof, anchor);
      if (!isEqual(shown, proven.document)) throw new ProofError("other_document", "the document beside the proof is not the proven one");
      return proven;
    }
    return await verifyProof(answer.proof ?? answer, anchor);
  } catch (error) {
    throw error instanceof EncodingError ? malformed(error.message) : error;
  }
}

async function verifyProof(given, anchor) {
  const proof = readProof(given);
  if (proof.version !== 1) throw malformed(`version ${proof.version} of a proof is not known`);
  if (proof.cluster_id !== anchor.cluster_id) throw new ProofError("other_cluster", `the proof is of cluster ${proof.cluster_id}`);
  const current = await follow(anchor, proof.changes);
  if (BigInt(proof.epoch) !== BigInt(current.epoch)) throw new ProofError("other_epoch", `the proof is of epoch ${proof.epoch}, trusted is ${current.epoch}`);
  await checkCertificate(proof.certificate, current);
  const { root } = proof.certificate;
  const collection = proveRow(proof.collection_row, concat(utf8("C"), utf8(proof.collection)), root);
  if (collection === null && proof.document !== null) throw malformed("a document without its collection");
  return {
    document: collection === null ? null : documentOf(proof, collectionId(collection)),
    collection: proof.collection,
    id: proof.id,
    kind: proof.certificate.kind,
    sequence: proof.certificate.sequence,
    root,
    signers: proof.certificate.votes.map(([replica]) => replica).sort((one, other) => (one < other ? -1 : 1)),
    anchor: current,
  };
}

// --- Reading ---------------------------------------------------------------------------------------

function fields(value, readers, optional = {}) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed("not an object");
  const known = { ...readers, ...optional };
  const stranger = Object.keys(value).find((name) => !Object.hasOwn(known, name));
  if (stranger !== undefined) throw malformed(`the name ${stranger} is not known`);
  return Object.fromEntries(
    Object.entries(known).filter(([name]) => name in readers || name in value).map(([name, read]) => [name, read(value[name])]),
  );
}

function number(value) {
  if (!isNumber(value)) throw malformed("not a number");
  return value;
}

function text(value) {
  if (typeof value !== "string") throw malformed("not a text");
  return value;
}

const bytes = (value) => bytesOfBase64(text(value));
const orNull = (read) => (value) => (value === null ? null : read(value));

function list(read) {
  return (value) => {
    if (!Array.isArray(value)) throw malformed("not a list");
    return value.map(read);
  };
}

function vote(value) {
  if (!Array.isArray(value) || value.length !== 2) throw malformed("not a vote");
  return [number(value[0]), bytes(value[1])];
}

function kind(value) {
  if (value !== "seal" && value !== "checkpoint") throw malformed("neither a seal nor a checkpoint");
  return value;
}

const votes = list(vote);
const validators = list((value) => fields(value, { id: number, public_key: text }));
const rowProof = (value) => fields(value, { row: orNull(bytes), bucket: orNull(bytes), siblings: list(bytes) });
const certificate = (value) => fields(value, { kind, sequence: number, root: bytes, votes });
const change = (value) => fields(value, { epoch: number, sequence: number, validators, votes });

const readProof = (value) => ({
  changes: [],
  ...fields(
    value,
    { version: number, cluster_id: text, epoch: number, collection: text, id: text, collection_row: rowProof, document: orNull(rowProof), certificate },
    { changes: list(change) },
  ),
});

// --- Who signed ------------------------------------------------------------------------------------

const payloadOf = (name, clusterId, numbers, body) =>
  hash(utf8(`AEROL1|${name}|`), bytesOfHex(clusterId), ...numbers.map((value) => numberBytes(value)), body);

async function isSigned(publicKey, payload, signature) {
  if (signature.length !== 64) return false;
  try {
    const key = await crypto.subtle.importKey("raw", bytesOfHex(publicKey), { name: "Ed25519" }, false, ["verify"]);
    return await crypto.subtle.verify({ name: "Ed25519" }, key, signature, payload);
  } catch (error) {
    if (error.name === "NotSupportedError") throw error;
    return false;
  }
}

async function requireQuorum(anchor, payload, given, what) {
  const signers = given.map(([replica]) => BigInt(replica));
  if (new Set(signers).size !== signers.length) throw new ProofError("duplicate_signer", `a node signed ${what} more than once`);
  const quorum = quorumOf(anchor.validators.length);
  if (signers.length < quorum) throw new ProofError("not_enough_signers", `${signers.length} signed ${what}; a quorum of ${anchor.validators.length} is ${quorum}`);
  for (const [replica, signature] of given) {
    const validator = anchor.validators.find((known) => BigInt(known.id) === BigInt(replica));
    if (validator === undefined) throw new ProofError("unknown_signer", `${replica} is no member of the cluster for ${what}`);
    if (!(await isSigned(validator.public_key, payload, signature))) throw new ProofError("bad_signature", `the signature of node ${replica} under ${what} is wrong`);
  }
}

/** Throws ProofError where members cannot be those of an epoch. */
export function checkValidators(given) {
  const ids = given.map(({ id }) => BigInt(id));
  const isRising = ids.every((id, at) => (at === 0 ? id >= 0n : id > ids[at - 1]));
  if (ids.length === 0 || ids.length > MEMBERS_MAX || !isRising || ids.at(-1) > NUMBER_MAX) throw new ProofError("bad_change", "the members are not in rising order");
  if (!given.every(({ public_key: key }) => isHex(key, 64))) throw new ProofError("bad_change", "a member has no public key");
  if (new Set(given.map(({ public_key: key }) => key)).size !== given.length) throw new ProofError("bad_change", "two members have the same public key");
}

/** Goes from the anchor's epoch to later ones, each handed over by a quorum of the one before. */
async function follow(anchor, changes) {
  if (changes.length > EPOCH_CHANGES_MAX) throw new ProofError("bad_change", `more than ${EPOCH_CHANGES_MAX} changes of epoch`);
  let current = anchor;
  let sequence = 0n;
  for (const step of changes) {
    if (BigInt(step.epoch) < BigInt(current.epoch)) continue;
    const at = BigInt(step.sequence);
    if (BigInt(step.epoch) !== BigInt(current.epoch) || at <= sequence || at > NUMBER_MAX) throw new ProofError("bad_change", "the changes of epoch do not follow each other");
    checkValidators(step.validators);
    const members = step.validators.map(({ id, public_key: key }) => concat(numberBytes(id), bytesOfHex(key)));
    const payload = payloadOf("EPOCH", anchor.cluster_id, [0, step.epoch, step.sequence], concat(...members));
    await requireQuorum(current, payload, step.votes, `the end of epoch ${step.epoch}`);
    sequence = at;
    current = { ...current, epoch: Number(step.epoch) + 1, validators: step.validators };
  }
  return current;
}

/** Goes on to a later epoch by what a node told of changes; throws ProofError. */
export async function followTold(anchor, changes) {
  try {
    return await follow(anchor, list(change)(changes));
  } catch (error) {
    throw error instanceof EncodingError ? malformed(error.message) : error;
  }
}

/** Whether a validator says itself, to whoever drew the nonce, that it answers at this address. */
export async function isMemberAt(anchor, { id, url, nonce, signature }) {
  const validator = anchor.validators.find((known) => BigInt(known.id) === BigInt(id));
  if (validator === undefined || !isHex(signature, 128)) return false;
  const payload = payloadOf("IDENTITY", anchor.cluster_id, [0, id], concat(nonce, utf8(url)));
  return isSigned(validator.public_key, payload, bytesOfHex(signature));
}

async function checkCertificate({ kind: name, sequence, root, votes: given }, anchor) {
  if (BigInt(sequence) <= 0n || BigInt(sequence) > NUMBER_MAX || root.length !== HASH_BYTES) throw malformed("the certificate has no sequence or no root");
  const payload = payloadOf(name === "seal" ? "SEAL" : "CKPT", anchor.cluster_id, [0, anchor.epoch, sequence], root);
  await requireQuorum(anchor, payload, given, `the ${name}`);
}

// --- What they signed ------------------------------------------------------------------------------

/** Answers the row that is under the root, null when it is shown that none is there. */
function proveRow(proof, key, root) {
  const keyHash = blake3(key, { dkLen: KEY_HASH_BYTES });
  if (proof.siblings.length > LEVELS_MAX) throw malformed("the path is longer than a key");
  const entries = proof.bucket === null ? [] : entriesOf(proof.bucket);
  checkPath(proof, keyHash, entries.length, root);
  const listed = entries.find(([name]) => sameBytes(name, keyHash));
  if (proof.row === null) {
    if (listed !== undefined) throw new ProofError("is_present", "what is said to be absent is in the state");
    return null;
  }
  if (listed === undefined) throw new ProofError("is_absent", "what is said to be there is not in the state");
  if (!sameBytes(hash(keyHash, proof.row), listed[1])) throw new ProofError("other_row", "the state holds something else than what is shown");
  return proof.row;
}

function entriesOf(bucket) {
  const count = bucket.length / ENTRY_BYTES;
  if (!Number.isInteger(count) || count < 1 || count > BUCKET_ENTRIES_MAX) throw malformed("the bucket is not a list of entries");
  const entries = Array.from({ length: count }, (_, at) => {
    const entry = bucket.subarray(at * ENTRY_BYTES, (at + 1) * ENTRY_BYTES);
    return [entry.subarray(0, KEY_HASH_BYTES), entry.subarray(KEY_HASH_BYTES)];
  });
  // Sorted and distinct, or one that is missing would prove nothing.
  if (!entries.every(([name], at) => at === 0 || numberOf(entries[at - 1][0]) < numberOf(name))) throw malformed("the entries of the bucket are not in order");
  return entries;
}

/** Hashes from the leaf up to the root; where each node stands is said by the key alone. */
function checkPath({ bucket, siblings }, keyHash, count, root) {
  const nibbles = hexDigits(keyHash);
  let child = bucket === null ? new Uint8Array(CHILD_BYTES) : concat(hash(utf8("B"), bucket), numberBytes(count, COUNT_BYTES));
  siblings.forEach((others, level) => {
    if (others.length !== SIBLING_BYTES) throw malformed("a level of the path has not fifteen siblings");
    const at = nibbles[siblings.length - 1 - level] * CHILD_BYTES;
    const children = concat(others.subarray(0, at), child, others.subarray(at));
    let total = 0n;
    for (let start = HASH_BYTES; start < children.length; start += CHILD_BYTES) total += numberOf(children.subarray(start, start + COUNT_BYTES));
    if (total > COUNT_MAX) throw malformed("a count of the path is out of range");
    child = concat(hash(utf8("N"), children), numberBytes(total, COUNT_BYTES));
  });
  if (!sameBytes(child.subarray(0, HASH_BYTES), root)) throw new ProofError("other_root", "the path does not lead to the signed root");
}

const hexDigits = (given) => Array.from(given).flatMap((byte) => [byte >> 4, byte & 15]);

function collectionId(row) {
  const columns = decodeMessagePack(row);
  const id = Array.isArray(columns) ? columns[0] : null;
  if (!Number.isSafeInteger(id) || id < 0 || id >= COLLECTION_ID_MAX) throw malformed("the collection has no number");
  return id;
}

function documentOf(proof, collection) {
  if (proof.document === null) throw malformed("the proof says nothing about the document");
  const key = concat(utf8("D"), numberBytes(collection, 4), utf8(proof.id));
  const row = proveRow(proof.document, key, proof.certificate.root);
  if (row === null) return null;
  if (row.length < HEADER_BYTES) throw malformed("the document cannot be read");
  const [version, created, updated] = [0, 8, 16].map((at) => numberOf(row.slice(at, at + 8).reverse()));
  const own = decodeMessagePack(row.subarray(HEADER_BYTES));
  if (typeof own !== "object" || own === null || Array.isArray(own)) throw malformed("the document cannot be read");
  return { _id: proof.id, _version: version <= Number.MAX_SAFE_INTEGER ? Number(version) : version, _created: timestamp(created), _updated: timestamp(updated), ...own };
}

function timestamp(us) {
  if (us >= YEAR_10000_US) throw malformed("the document cannot be read");
  const whole = new Date(Number(us / 1000000n) * 1000).toISOString().slice(0, 19);
  return `${whole}.${String(us % 1000000n).padStart(6, "0")}Z`;
}
