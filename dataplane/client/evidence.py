"""Checking evidence: a pure function of a proof and public keys, without any connection.

The file of a proof is what `GET /api/v1/evidence` lists and the portal hands out: JSON with hex. It
is believed for its two signatures alone, wherever it comes from; the keys must come over another
way (the portal, or the cluster's specification).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from nacl import bindings
from nacl.exceptions import BadSignatureError

from dataplane.client.anchors import TrustAnchor
from dataplane.client.errors import EvidenceError
from dataplane.consensus.evidence import SEQUENCELESS, VIEWLESS, proof_fault
from dataplane.consensus.messages import EquivocationProof, Statement

EVIDENCE_BYTES_MAX: Final = 16 * 1024
FORMAT: Final = "aerolith-evidence-1"

FAULTS: Final = {
    "unknown_kind": "this version knows no such kind of message",
    "out_of_range": "a number is outside of what the protocol uses",
    "malformed": "a digest or a signature has not the right length",
    "same_statement": "both statements are the same, which is no contradiction",
    "wrong_order": "the statements are not in the order of their digests",
    "unknown_signer": "the accused is no node of the cluster in that epoch",
    "bad_signature": "a signature is not the accused node's",
    "other_cluster": "the proof is about another cluster",
    "other_epoch": "the trust anchor is of another epoch",
    "not_evidence": "this is not a proof of equivocation",
    "too_large": f"a proof has at most {EVIDENCE_BYTES_MAX} bytes",
}
"""code -> words; the codes are stable."""

KIND_WORDS: Final = {
    "pre_prepare": "proposals (pre-prepare)",
    "prepare": "votes that it accepted a proposal (prepare)",
    "commit": "votes to commit (commit)",
    "checkpoint": "roots of its state (checkpoint)",
    "view_change": "accounts of what it had prepared (view change)",
    "new_view": "beginnings of a view that it led (new view)",
}


class StatementDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the two signed statements; hex."""

    digest: str
    signature: str


class EvidenceDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A proof of equivocation as a file."""

    format: Literal["aerolith-evidence-1"]
    cluster_id: str
    kind: str
    epoch: int
    view: int
    sequence: int
    replica: int
    first: StatementDocument
    second: StatementDocument


@dataclass(frozen=True, slots=True)
class Equivocation:
    """What a good proof proves: a node signed both digests for the same place."""

    cluster_id: str
    kind: str
    epoch: int
    view: int
    sequence: int
    replica: int
    digests: tuple[str, str]
    public_key: str

    def in_words(self) -> str:
        """Say what was proven."""
        parts = [] if self.kind in VIEWLESS else [f"view {self.view}"]
        parts += [] if self.kind in SEQUENCELESS else [f"sequence {self.sequence}"]
        place = ", ".join(parts)
        return (
            f"Node {self.replica} of cluster {self.cluster_id} signed two different "
            f"{KIND_WORDS[self.kind]} for {place} of epoch {self.epoch}:\n"
            f"  {self.digests[0]}\n  {self.digests[1]}\n"
            f"Both signatures are good under its public key {self.public_key}.\n"
            "A node that follows the protocol never signs both, whatever crashes or is lost: node "
            f"{self.replica} lied, or somebody else has its key."
        )


class _Verifier:
    """Ed25519 by the library that the nodes use."""

    def verify(self, public_key: bytes, payload: bytes, signature: bytes) -> bool:
        """Return whether the signature is the key's for the payload."""
        if len(public_key) != bindings.crypto_sign_PUBLICKEYBYTES:
            return False
        try:
            bindings.crypto_sign_open(signature + payload, public_key)
        except BadSignatureError:
            return False
        return True


def document_of(proof: EquivocationProof, cluster_id: str) -> EvidenceDocument:
    """Return a proof as a file."""
    return EvidenceDocument(
        FORMAT,
        cluster_id,
        proof.kind,
        proof.epoch,
        proof.view,
        proof.sequence,
        proof.replica,
        StatementDocument(proof.first.digest.hex(), proof.first.sig.hex()),
        StatementDocument(proof.second.digest.hex(), proof.second.sig.hex()),
    )


def read_evidence(data: bytes | str | Mapping[str, Any]) -> EvidenceDocument:
    """Read a proof from JSON, or from what JSON was decoded to.

    Raises:
        EvidenceError: `too_large` or `not_evidence`.
    """
    try:
        if not isinstance(data, bytes | str):
            return msgspec.convert(data, EvidenceDocument)
        if len(data) > EVIDENCE_BYTES_MAX:
            raise EvidenceError("too_large", FAULTS["too_large"])
        return msgspec.json.decode(data, type=EvidenceDocument)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise EvidenceError("not_evidence", f"{FAULTS['not_evidence']}: {error}") from error


def _from_hex(text: str) -> bytes:
    # `fromhex` passes over blanks and takes capitals: one proof would have many files.
    data = bytes.fromhex(text) if len(text) <= EVIDENCE_BYTES_MAX else b""
    return data if data.hex() == text else b""


def _proof_in(document: EvidenceDocument) -> EquivocationProof:
    try:
        statements = [
            Statement(_from_hex(said.digest), _from_hex(said.signature))
            for said in (document.first, document.second)
        ]
    except ValueError as error:
        raise EvidenceError("malformed", FAULTS["malformed"]) from error
    return EquivocationProof(
        document.kind,
        document.epoch,
        document.view,
        document.sequence,
        document.replica,
        statements[0],
        statements[1],
    )


def verify_evidence(
    evidence: EvidenceDocument | bytes | str | Mapping[str, Any], anchor: TrustAnchor
) -> Equivocation:
    """Check a proof with the public keys of the epoch that it is about.

    Raises:
        EvidenceError: It proves nothing; `code` is one of `FAULTS`.
    """
    document = evidence if isinstance(evidence, EvidenceDocument) else read_evidence(evidence)
    if document.cluster_id != anchor.cluster_id:
        raise EvidenceError("other_cluster", FAULTS["other_cluster"])
    if document.epoch != anchor.epoch:
        raise EvidenceError("other_epoch", FAULTS["other_epoch"])
    proof, key = _proof_in(document), anchor.public_key(document.replica)
    fault = proof_fault(proof, bytes.fromhex(anchor.cluster_id), key, _Verifier())
    if fault is not None:
        raise EvidenceError(fault, FAULTS[fault])
    assert key is not None
    return Equivocation(
        anchor.cluster_id,
        document.kind,
        document.epoch,
        document.view,
        document.sequence,
        document.replica,
        (document.first.digest, document.second.digest),
        key.hex(),
    )
