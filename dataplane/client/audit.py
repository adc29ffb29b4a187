"""Checking the audit log of a cluster: offline, with its public keys alone.

A file holds records and, at its end, the proof of the chain's ends: what `Client.audit_export`
yields, or one answer of `GET /api/v1/audit?proof=true`. Each record is hashed again with the hash
of the one before; the last must be the one that a quorum of the nodes signed. So no record between
the first in the file and the signed end was changed, left out or added.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, Final

import msgspec
from blake3 import blake3

from dataplane.client.anchors import TrustAnchor, follow
from dataplane.client.errors import ProofError
from dataplane.client.proofs import check_certificate, prove_row
from dataplane.wire.audit import ENDS_KEY, AuditEnds, AuditProof, AuditRecord, decode_ends

LINE_BYTES_MAX: Final = 16 * 1024 * 1024
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIELDS: Final = AuditRecord.__struct_fields__
_DIGESTS: Final = ("before", "after")
_encode: Final = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class ProvenAudit:
    """What a file proves: these records, in this order, and no others between them."""

    cluster_id: str
    epoch: int
    kind: str
    sequence: int
    signers: tuple[int, ...]
    validator_count: int
    count: int
    first: int | None
    last: int
    kept_first: int
    level: str

    @property
    def is_whole(self) -> bool:
        """Whether the file begins with the oldest record that the cluster keeps."""
        return self.first is None or self.first <= self.kept_first

    def in_words(self) -> str:
        """Say what was proven."""
        names = ", ".join(map(str, self.signers))
        what = "The cluster keeps no records"
        if self.first is not None:
            what = (
                f"The {self.count} records {self.first} to {self.last} are complete and unaltered"
            )
        rest = "Records older than these are kept by the cluster and not in the file."
        if self.is_whole:
            rest = (
                "The file has every record that the cluster keeps."
                if self.kept_first == 1
                else f"Records before {self.kept_first} were forgotten when their time was over."
            )
        return (
            f"{what}: cluster {self.cluster_id}, level {self.level}, after sequence "
            f"{self.sequence}.\n"
            f"{len(self.signers)} of the {self.validator_count} nodes of epoch {self.epoch} "
            f"signed the end of the chain (nodes {names}; {self.kind}).\n{rest}"
        )


class AuditChecker:
    """Takes records one by one, however many there are; then the proof of the end."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._begins_after = b""
        self._next = 0
        self._hash = b""

    def take(self, shown: dict[str, Any]) -> AuditRecord:
        """Take the next record.

        Raises:
            ProofError: `malformed`, `gap` or `altered`.
        """
        record, previous, claimed = _record_in(shown)
        if self._first is None:
            self._first, self._begins_after = record.index, previous
        elif record.index != self._next:
            raise ProofError("gap", f"record {self._next} is missing before {record.index}")
        elif previous != self._hash:
            raise ProofError("altered", f"record {record.index} does not follow the one before")
        self._hash = blake3(b"AEROL1|AUDIT|" + previous + _encode(record)).digest()
        if self._hash != claimed:
            raise ProofError("altered", f"record {record.index} is not what was recorded")
        self._next = record.index + 1
        return record

    def finish(self, proof: AuditProof, anchor: TrustAnchor) -> ProvenAudit:
        """Check the end against whom the reader trusts.

        Raises:
            ProofError: Names the first check that failed.
        """
        current, ends = _ends_of(proof, anchor)
        if self._first is None and ends.last >= ends.first:
            raise ProofError("gap", f"records {ends.first} to {ends.last} are missing")
        if self._first is not None:
            self._check_place(ends)
        certificate = proof.certificate
        return ProvenAudit(
            cluster_id=anchor.cluster_id,
            epoch=current.epoch,
            kind=certificate.kind,
            sequence=certificate.sequence,
            signers=tuple(sorted(replica for replica, _ in certificate.votes)),
            validator_count=len(current.validators),
            count=0 if self._first is None else self._next - self._first,
            first=self._first,
            last=ends.last,
            kept_first=ends.first,
            level=ends.level,
        )

    def _check_place(self, ends: AuditEnds) -> None:
        if self._next - 1 < ends.last:
            raise ProofError("gap", f"records {self._next} to {ends.last} are missing at the end")
        if self._next - 1 > ends.last or self._hash != ends.head:
            raise ProofError("other_head", "the records do not end where the nodes signed")
        if self._first == ends.first and self._begins_after != ends.start:
            raise ProofError("altered", "the first record does not follow what was forgotten")


def _ends_of(proof: AuditProof, anchor: TrustAnchor) -> tuple[TrustAnchor, AuditEnds]:
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
    row = prove_row(proof.ends, ENDS_KEY, proof.certificate.root)
    if row is None:
        raise ProofError("is_absent", "the state has no audit chain")
    try:
        return current, decode_ends(row)
    except msgspec.MsgspecError as error:
        raise ProofError("malformed", "the ends of the chain cannot be read") from error


def _record_in(shown: dict[str, Any]) -> tuple[AuditRecord, bytes, bytes]:
    """Return a record as it was hashed, the hash of the one before, and its own as it claims."""
    try:
        fields = {name: shown[name] for name in _FIELDS}
        for name in _DIGESTS:
            fields[name] = None if fields[name] is None else bytes.fromhex(fields[name])
        values = [fields[name] for name in _FIELDS]
        record = msgspec.msgpack.decode(_encode(values), type=AuditRecord)
        at, previous, claimed = shown["at"], shown["previous"], shown["hash"]
        if at != _timestamp(record.at_ms):
            raise ProofError("altered", f"record {record.index} shows another time than it has")
        return record, bytes.fromhex(previous), bytes.fromhex(claimed)
    except (KeyError, TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise ProofError("malformed", f"not a record of an audit log: {error}") from error


def _timestamp(at_ms: int) -> str:
    return (_START + timedelta(milliseconds=at_ms)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def verify_audit(lines: Iterable[bytes], anchor: TrustAnchor) -> ProvenAudit:
    """Check records and their proof, as lines of JSON or as one answer of a node.

    Raises:
        ProofError: Names the first check that failed.
    """
    checker = AuditChecker()
    proof: AuditProof | None = None
    for part in _parts(lines):
        if proof is not None:
            raise ProofError("malformed", "something follows the proof")
        if "proof" in part:
            proof = proof_of_audit(part["proof"])
        elif "index" in part:
            checker.take(part)
        else:
            raise ProofError("malformed", "a line is neither a record nor the proof")
    if proof is None:
        raise ProofError("malformed", "the file has no proof: ask with proof=true")
    return checker.finish(proof, anchor)


def verify_erasure(
    receipt: dict[str, Any], lines: Iterable[bytes], subject: str | int, anchor: TrustAnchor
) -> ProvenAudit:
    """Check the receipt of an erasure: that it is on record, of this person, with these counts.

    `lines` are of the audit log, from the receipt's `record` on, with their proof.

    Raises:
        ProofError: Names the first check that failed.
    """
    seen: list[dict[str, Any]] = []
    wanted = (receipt.get("record"), receipt.get("erasure"), "subject.erase")

    def watched() -> Iterator[bytes]:
        for line in lines:
            parts = _parts([line])
            seen.extend(
                part
                for part in parts
                if (part.get("index"), part.get("id"), part.get("action")) == wanted
            )
            yield line

    proven = verify_audit(watched(), anchor)
    if not seen:
        raise ProofError("is_absent", "the audit log has no such erasure")
    facts = msgspec.json.decode(str(seen[0].get("detail")), type=dict[str, Any])
    told = {
        "subject": receipt.get("subject_hash"),
        "salt": receipt.get("salt"),
        "removed": receipt.get("removed"),
    }
    if facts != told:
        raise ProofError("other_row", "the receipt says something else than the record")
    head = b"AEROL1|SUBJECT|" + bytes.fromhex(facts["salt"])
    if blake3(head + _encode(subject)).hexdigest() != facts["subject"]:
        raise ProofError("other_document", "the erasure was of somebody else")
    return proven


def _parts(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield records and at last the proof, whichever way they were written."""
    for line in lines:
        if not line.strip():
            continue
        try:
            part = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProofError("malformed", f"not a JSON object: {error}") from error
        records = part.get("records")
        if not isinstance(records, list):
            yield part
            continue
        if not all(isinstance(record, dict) for record in records):
            raise ProofError("malformed", "the records are no objects")
        yield from sorted(records, key=_index_of)
        if "proof" in part:
            yield {"proof": part["proof"]}


def _index_of(record: dict[str, Any]) -> int:
    index = record.get("index")
    return index if isinstance(index, int) else 0


def proof_of_audit(value: object) -> AuditProof:
    """Return the proof in a decoded JSON value.

    Raises:
        ProofError: `malformed`.
    """
    try:
        return msgspec.convert(value, AuditProof)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ProofError("malformed", f"not a proof: {error}") from error


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file.

    Raises:
        ProofError: One is longer than any answer of a node.
    """
    while line := file.readline(LINE_BYTES_MAX + 1):
        if len(line) > LINE_BYTES_MAX:
            raise ProofError("malformed", f"a line is over {LINE_BYTES_MAX} bytes")
        yield line
