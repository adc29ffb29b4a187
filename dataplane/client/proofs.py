"""Checking a proof: pure functions of the proof and of a trust anchor, without any connection.

Written apart from the tree and the tables of the nodes, so that the two cannot share a mistake.
"""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from blake3 import blake3

from dataplane.client.anchors import TrustAnchor, follow, require_quorum
from dataplane.client.errors import ProofError
from dataplane.consensus.messages import checkpoint_payload
from dataplane.wire.proofs import (
    BUCKET_ENTRIES_MAX,
    COUNT_BYTES,
    FAN_OUT,
    HASH_BYTES,
    KEY_HASH_BYTES,
    LEVELS_MAX,
    SIBLING_BYTES,
    Certificate,
    Proof,
    RowProof,
    seal_payload,
)

PROOF_BYTES_MAX: Final = 16 * 1024 * 1024
_NUMBER_MAX: Final = 2**63 - 1
_COUNT_MAX: Final = 2 ** (8 * COUNT_BYTES) - 1
_ENTRY_BYTES: Final = KEY_HASH_BYTES + HASH_BYTES
_CHILD_BYTES: Final = HASH_BYTES + COUNT_BYTES
_NOTHING: Final = bytes(_CHILD_BYTES)
_BUCKET: Final = b"B"
_INNER: Final = b"N"
_COLLECTION: Final = b"C"
_DOCUMENT: Final = b"D"
_COLLECTION_ID_BYTES: Final = 4
_HEADER: Final = struct.Struct("<QQQ")
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_decode_row: Final = msgspec.msgpack.Decoder(list[Any]).decode
_decode_body: Final = msgspec.msgpack.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof proves: at `sequence` the document was this, or absent when it is None."""

    cluster_id: str
    epoch: int
    kind: str
    sequence: int
    root: bytes
    signers: tuple[int, ...]
    validator_count: int
    collection: str
    id: str
    document: dict[str, Any] | None

    @property
    def version(self) -> int | None:
        """The document's version, None when it is absent."""
        return None if self.document is None else int(self.document["_version"])

    def in_words(self) -> str:
        """Say what was proven."""
        place = f"{self.collection}/{self.id}"
        names = ", ".join(map(str, self.signers))
        what = (
            f"there was no document {place}"
            if self.document is None
            else f"the document {place} had version {self.version} and the content shown"
        )
        return (
            f"In cluster {self.cluster_id}, after sequence {self.sequence}, {what}.\n"
            f"{len(self.signers)} of the {self.validator_count} nodes of epoch {self.epoch} "
            f"signed the state it is in (nodes {names}; {self.kind} {self.root.hex()}).\n"
            "What was written after that sequence is not covered."
        )


def proof_of(value: object) -> Proof:
    """Return the proof in a decoded JSON value.

    Raises:
        ProofError: `malformed`.
    """
    try:
        return msgspec.convert(value, Proof)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ProofError("malformed", f"not a proof: {error}") from error


def proof_in(data: bytes) -> tuple[Proof, dict[str, Any] | None]:
    """Find the proof in JSON: itself, or an answer of a node with its document.

    Returns:
        The proof, and the document beside it: None in a 404 or when the proof stands alone.

    Raises:
        ProofError: `malformed`.
    """
    if len(data) > PROOF_BYTES_MAX:
        raise ProofError("malformed", f"over {PROOF_BYTES_MAX} bytes")
    try:
        body = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProofError("malformed", f"not a JSON object: {error}") from error
    if "_proof" in body:
        return proof_of(body.pop("_proof")), body
    if "proof" in body:
        return proof_of(body["proof"]), None
    return proof_of(body), None


def verify_answer(data: bytes, anchor: TrustAnchor) -> Proven:
    """Check the proof in an answer of a node, and that the document beside it is the proven one.

    Raises:
        ProofError: As `verify_proof`; `other_document`.
    """
    proof, shown = proof_in(data)
    proven = verify_proof(proof, anchor)
    if shown is not None and shown != proven.document:
        raise ProofError("other_document", "the document beside the proof is not the proven one")
    return proven


def verify_proof(proof: Proof, anchor: TrustAnchor) -> Proven:
    """Check a proof against whom the reader trusts.

    Raises:
        ProofError: Names the first check that failed.
    """
    if proof.version != 1:
        raise ProofError("malformed", f"version {proof.version} of a proof is not known")
    if proof.cluster_id != anchor.cluster_id:
        raise ProofError("other_cluster", f"the proof is of cluster {proof.cluster_id!r}")
    current = follow(anchor, proof.changes)
    if proof.epoch != current.epoch:
        raise ProofError(
            "other_epoch", f"the proof is of epoch {proof.epoch}, trusted is {current.epoch}"
        )
    check_certificate(proof.certificate, current)
    root = proof.certificate.root
    collection = prove_row(proof.collection_row, _COLLECTION + _utf8(proof.collection), root)
    document = None
    if collection is None:
        if proof.document is not None:
            raise ProofError("malformed", "a document without its collection")
    else:
        document = _document(proof, _collection_id(collection))
    return Proven(
        cluster_id=anchor.cluster_id,
        epoch=current.epoch,
        kind=proof.certificate.kind,
        sequence=proof.certificate.sequence,
        root=root,
        signers=tuple(sorted(replica for replica, _ in proof.certificate.votes)),
        validator_count=len(current.validators),
        collection=proof.collection,
        id=proof.id,
        document=document,
    )


def check_certificate(certificate: Certificate, anchor: TrustAnchor) -> None:
    """Check that a quorum of the anchor's validators signed a root.

    Raises:
        ProofError: Names the first check that failed.
    """
    if not 0 < certificate.sequence <= _NUMBER_MAX or len(certificate.root) != HASH_BYTES:
        raise ProofError("malformed", "the certificate has no sequence or no root")
    payload_of = seal_payload if certificate.kind == "seal" else checkpoint_payload
    payload = payload_of(
        bytes.fromhex(anchor.cluster_id),
        epoch=anchor.epoch,
        sequence=certificate.sequence,
        root=certificate.root,
    )
    require_quorum(anchor, payload, certificate.votes, f"the {certificate.kind}")


def prove_row(proof: RowProof, key: bytes, root: bytes) -> bytes | None:
    """Return the row that the proof shows under the root, None when it shows that none is there."""
    key_hash = blake3(key).digest(KEY_HASH_BYTES)
    if len(proof.siblings) > LEVELS_MAX:
        raise ProofError("malformed", "the path is longer than a key")
    entries = {} if proof.bucket is None else _entries(proof.bucket)
    _check_path(proof, key_hash, len(entries), root)
    listed = entries.get(key_hash)
    if proof.row is None:
        if listed is not None:
            raise ProofError("is_present", "what is said to be absent is in the state")
        return None
    if listed is None:
        raise ProofError("is_absent", "what is said to be there is not in the state")
    if blake3(key_hash + proof.row).digest() != listed:
        raise ProofError("other_row", "the state holds something else than what is shown")
    return proof.row


def _entries(bucket: bytes) -> dict[bytes, bytes]:
    """Return the entries of a leaf: sorted and distinct, or one missing proves nothing."""
    count, rest = divmod(len(bucket), _ENTRY_BYTES)
    if rest or not 1 <= count <= BUCKET_ENTRIES_MAX:
        raise ProofError("malformed", "the bucket is not a list of entries")
    starts = range(0, len(bucket), _ENTRY_BYTES)
    hashes = [bucket[start : start + KEY_HASH_BYTES] for start in starts]
    if hashes != sorted(set(hashes)):
        raise ProofError("malformed", "the entries of the bucket are not in order")
    entry_hashes = [bucket[start + KEY_HASH_BYTES : start + _ENTRY_BYTES] for start in starts]
    return dict(zip(hashes, entry_hashes, strict=True))


def _check_path(proof: RowProof, key_hash: bytes, count: int, root: bytes) -> None:
    """Hash from the leaf up to the root; where each node stands is said by the key alone."""
    child = _NOTHING
    if proof.bucket is not None:
        child = blake3(_BUCKET + proof.bucket).digest() + count.to_bytes(COUNT_BYTES, "big")
    for level, siblings in enumerate(proof.siblings):
        if len(siblings) != SIBLING_BYTES:
            raise ProofError("malformed", "a level of the path has not fifteen siblings")
        at = int(key_hash.hex()[len(proof.siblings) - 1 - level], FAN_OUT) * _CHILD_BYTES
        children = siblings[:at] + child + siblings[at:]
        total = sum(
            int.from_bytes(children[start + HASH_BYTES : start + _CHILD_BYTES], "big")
            for start in range(0, len(children), _CHILD_BYTES)
        )
        if total > _COUNT_MAX:
            raise ProofError("malformed", "a count of the path is out of range")
        child = blake3(_INNER + children).digest() + total.to_bytes(COUNT_BYTES, "big")
    if child[:HASH_BYTES] != root:
        raise ProofError("other_root", "the path does not lead to the signed root")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ProofError("malformed", "a name is not text") from error


def _collection_id(row: bytes) -> int:
    try:
        number = _decode_row(row)[0]
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError) as error:
        raise ProofError("malformed", "the collection cannot be read") from error
    if not isinstance(number, int) or not 0 <= number < 2 ** (8 * _COLLECTION_ID_BYTES):
        raise ProofError("malformed", "the collection has no number")
    return number


def _document(proof: Proof, collection_id: int) -> dict[str, Any] | None:
    if proof.document is None:
        raise ProofError("malformed", "the proof says nothing about the document")
    prefix = _DOCUMENT + collection_id.to_bytes(_COLLECTION_ID_BYTES, "big")
    row = prove_row(proof.document, prefix + _utf8(proof.id), proof.certificate.root)
    if row is None:
        return None
    try:
        version, created_us, updated_us = _HEADER.unpack_from(row)
        return {
            "_id": proof.id,
            "_version": version,
            "_created": _timestamp(created_us),
            "_updated": _timestamp(updated_us),
            **_decode_body(row[_HEADER.size :]),
        }
    except (struct.error, msgspec.MsgspecError, UnicodeDecodeError, OverflowError) as error:
        raise ProofError("malformed", "the document cannot be read") from error


def _timestamp(at_us: int) -> str:
    return (_START + timedelta(microseconds=at_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
