"""Checking a tombstone: that a quorum signed that something was erased, offline.

Written apart from the tables of the nodes, so that the two cannot share a mistake.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from dataplane.client.anchors import TrustAnchor, follow
from dataplane.client.errors import ProofError
from dataplane.client.proofs import PROOF_BYTES_MAX, check_certificate, prove_row
from dataplane.wire.proofs import TombstoneProof

_PREFIX: Final = b"F"
_NUMBER_BYTES: Final = 4
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Row(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    kind: str
    name: str
    number: int
    documents: int
    bytes: int
    ordered_at: int
    erased_at: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class ProvenTombstone:
    """What a tombstone proves."""

    cluster_id: str
    epoch: int
    sequence: int
    signers: tuple[int, ...]
    validator_count: int
    kind: str
    name: str
    number: int
    documents: int
    bytes: int
    ordered_at: int
    erased_at: int
    at_ms: int

    def in_words(self) -> str:
        """Say what was proven, and what was not."""
        at = (_START + timedelta(milliseconds=self.at_ms)).isoformat(timespec="seconds")
        held = f"{self.documents} documents of {self.bytes} bytes"
        if self.kind == "cluster":
            what = (
                f"the erasure of the cluster, which held {held}, by destroying its key "
                f"{self.name}, was ordered at sequence {self.ordered_at} ({at})"
            )
        else:
            what = (
                f"the collection {self.name} (number {self.number}), which held {held}, was "
                f"dropped at sequence {self.ordered_at}, and its key destroyed at "
                f"{self.erased_at} ({at})"
            )
        names = ", ".join(map(str, self.signers))
        return (
            f"In cluster {self.cluster_id}, {what}.\n"
            f"{len(self.signers)} of the {self.validator_count} nodes of epoch {self.epoch} signed "
            f"the state after sequence {self.sequence} that says so (nodes {names}).\n"
            "It proves what the cluster agreed on and did, not that no copy of the key exists."
        )


def tombstone_of(data: bytes) -> TombstoneProof:
    """Return the proof in JSON.

    Raises:
        ProofError: `malformed`.
    """
    if len(data) > PROOF_BYTES_MAX:
        raise ProofError("malformed", f"over {PROOF_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(data, type=TombstoneProof)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProofError("malformed", f"not a tombstone: {error}") from error


def verify_tombstone(proof: TombstoneProof, anchor: TrustAnchor) -> ProvenTombstone:
    """Check a tombstone against whom the reader trusts.

    Raises:
        ProofError: Names the first check that failed.
    """
    if proof.version != 1 or not 0 <= proof.number < 2 ** (8 * _NUMBER_BYTES):
        raise ProofError("malformed", "the version or the number of the tombstone is not known")
    if proof.cluster_id != anchor.cluster_id:
        raise ProofError("other_cluster", f"the tombstone is of cluster {proof.cluster_id!r}")
    current = follow(anchor, proof.changes)
    if proof.epoch != current.epoch:
        raise ProofError(
            "other_epoch", f"the tombstone is of epoch {proof.epoch}, trusted is {current.epoch}"
        )
    check_certificate(proof.certificate, current)
    key = _PREFIX + proof.number.to_bytes(_NUMBER_BYTES, "big")
    stored = prove_row(proof.tombstone, key, proof.certificate.root)
    if stored is None:
        raise ProofError("is_absent", "the state holds no such tombstone")
    row = _row_of(stored)
    if row.number != proof.number:
        raise ProofError("malformed", "the tombstone has another number")
    return ProvenTombstone(
        cluster_id=anchor.cluster_id,
        epoch=current.epoch,
        sequence=proof.certificate.sequence,
        signers=tuple(sorted(replica for replica, _ in proof.certificate.votes)),
        validator_count=len(current.validators),
        **_fields(row),
    )


def _row_of(stored: bytes) -> _Row:
    try:
        return msgspec.msgpack.decode(stored, type=_Row)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProofError("malformed", "the tombstone cannot be read") from error


def _fields(row: _Row) -> dict[str, Any]:
    return msgspec.structs.asdict(row)
