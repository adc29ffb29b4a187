"""Bringing the content of a backup into a cluster, and proving afterwards that it is there.

The backup is read twice: once to check it, once to send it. Were it another one the second time,
the cluster would refuse at the end: it computes the digest of what it was sent, on every node.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from dataplane.client.anchors import TrustAnchor, follow
from dataplane.client.backups import Contents, Verified, whole_rows
from dataplane.client.calls import Call
from dataplane.client.errors import BackupError
from dataplane.client.proofs import check_certificate, prove_row
from dataplane.wire.backups import (
    CONTENT,
    AnyRecord,
    Head,
    RestoreCertificate,
    RestoreProof,
    Row,
    Rows,
    SourceState,
)

PATH: Final = "/api/v1/restore"
PARTS_TYPE: Final = "application/msgpack"
PART_BYTES: Final = 256 * 1024
PART_ROWS_MAX: Final = 2_000
PROOF_VERSION: Final = 1
_RESTORE_KEY: Final = b"R"
_COLLECTION, *_OTHERS = CONTENT
_encode = msgspec.msgpack.Encoder().encode
_decode_row: Final = msgspec.msgpack.Decoder(list[Any]).decode

type Part = tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a cluster is told before a restore: of which state, and what will come."""

    source_cluster: str
    source_epoch: int
    source_sequence: int
    source_root: str
    source_at_ms: int
    content: str
    rows: int
    next_collection: int
    version_floor: int


def announcement(head: Head, contents: Contents) -> Announcement:
    """Return what to tell a cluster of a backup that was checked.

    Raises:
        BackupError: `malformed`: the backup has no counters; `incomplete`: it needs others.
    """
    if contents.same:
        raise BackupError("incomplete", "the backups before this one are needed too")
    try:
        counters = _decode_row(contents.meta or b"")
        next_collection, version_floor = int(counters[5]), int(counters[6])
    except (msgspec.MsgspecError, IndexError, TypeError, ValueError) as error:
        raise BackupError("malformed", "the counters of the state cannot be read") from error
    return Announcement(
        source_cluster=head.cluster_id,
        source_epoch=head.epoch,
        source_sequence=head.certificate.sequence,
        source_root=head.certificate.root.hex(),
        source_at_ms=head.at_ms,
        content=contents.content.hex(),
        rows=contents.content_rows,
        next_collection=next_collection,
        version_floor=version_floor,
    )


def parts_of(contents: Contents, records: Iterator[AnyRecord]) -> Iterator[Part]:
    """Yield what a restore sends, always cut alike: collections first, then the rest."""
    yield from _cut(iter(contents.collections))
    rows = (row for record in records if isinstance(record, Rows) for row in whole_rows(record))
    yield from _cut(row for row in rows if row[0][:1] in _OTHERS)


def _cut(rows: Iterator[Row]) -> Iterator[Part]:
    part: list[Row] = []
    size_bytes = 0
    for row in rows:
        length = len(row[0]) + len(row[1])
        if part and (size_bytes + length > PART_BYTES or len(part) == PART_ROWS_MAX):
            yield tuple(part)
            part, size_bytes = [], 0
        part.append(row)
        size_bytes += length
    if part:
        yield tuple(part)


# --- The calls ------------------------------------------------------------------------------------


def begin(restore_id: str, announced: Announcement, *, replace: bool) -> Call:
    """Begin a restore, or learn how far it is; `restore_id` is 32 hex digits of one's own."""
    body = {"id": restore_id, "replace": replace, **msgspec.to_builtins(announced)}
    return Call("PUT", PATH, body, write=True)


def send_part(restore_id: str, number: int, part: Part) -> Call:
    """Send one part; sending it again does nothing."""
    return Call(
        "POST",
        f"{PATH}/parts",
        params={"id": restore_id, "number": str(number)},
        write=True,
        content_type=PARTS_TYPE,
        data=_encode(part),
    )


def finish(restore_id: str) -> Call:
    """Let the cluster have what was sent."""
    return Call("POST", f"{PATH}/finish", params={"id": restore_id}, write=True)


def discard(restore_id: str) -> Call:
    """Give a restore up."""
    return Call("DELETE", PATH, params={"id": restore_id}, write=True)


def prove() -> Call:
    """Have it proven what was restored."""
    return Call("GET", PATH, params={"proof": "true"})


def restore_all(
    run: Callable[[Call], Any],
    restore_id: str,
    verified: Verified,
    records: Iterator[AnyRecord],
    *,
    replace: bool = False,
    pause: Callable[[], None],
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[str, Any]:
    """Do a whole restore, or the rest of one that was interrupted; return how it ended.

    `records` are those of the backup again, from the beginning. `pause` is called between two
    questions whether what was there before is cleared away.
    """
    announced = announcement(verified.head, verified.contents)
    state = run(begin(restore_id, announced, replace=replace))["restore"]
    while state["state"] == "clearing":
        pause()
        state = run(begin(restore_id, announced, replace=replace))["restore"]
    if state["state"] == "loading":
        sent = 0
        for number, part in enumerate(parts_of(verified.contents, records)):
            sent += len(part)
            if number >= state["next"]:
                run(send_part(restore_id, number, part))
                progress(sent, announced.rows)
        state = run(finish(restore_id))["restore"]
    ended: dict[str, Any] = state
    return ended


# --- The proof ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProvenRestore:
    """What a quorum of a cluster says was restored into it."""

    cluster_id: str
    epoch: int
    signers: tuple[int, ...]
    restore_id: str
    source_cluster: str
    source_sequence: int
    source_root: bytes
    content: bytes
    rows: int
    sequence: int

    def in_words(self) -> str:
        """Say what was proven."""
        names = ", ".join(map(str, self.signers))
        return (
            f"Cluster {self.cluster_id} was filled, at its sequence {self.sequence}, with "
            f"{self.rows} rows of digest {self.content.hex()}: the content of cluster "
            f"{self.source_cluster} after sequence {self.source_sequence}, "
            f"root {self.source_root.hex()}.\n"
            f"{len(self.signers)} nodes of epoch {self.epoch} signed that (nodes {names})."
        )


def verify_restore(value: object, anchor: TrustAnchor) -> ProvenRestore:
    """Check the answer to `prove` against whom one trusts of the restored cluster.

    Raises:
        ProofError: Names the first check that failed.
    """
    try:
        proof = msgspec.convert(value, RestoreProof)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BackupError("malformed", f"not a proof of a restore: {error}") from error
    if proof.version != PROOF_VERSION or proof.cluster_id != anchor.cluster_id:
        raise BackupError("other_cluster", f"the proof is of cluster {proof.cluster_id!r}")
    current = follow(anchor, proof.changes)
    if proof.epoch != current.epoch:
        raise BackupError("other_epoch", f"the proof is of epoch {proof.epoch}")
    check_certificate(proof.certificate, current)
    stored = prove_row(proof.row, _RESTORE_KEY, proof.certificate.root)
    if stored is None:
        raise BackupError("not_restored", "nothing was ever restored into this cluster")
    try:
        row = _decode_row(stored)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BackupError("malformed", "the row about the restore cannot be read") from error
    if row[1] != "done":
        raise BackupError("not_restored", "the restore did not come to its end")
    return ProvenRestore(
        cluster_id=anchor.cluster_id,
        epoch=current.epoch,
        signers=tuple(sorted(replica for replica, _ in proof.certificate.votes)),
        restore_id=row[0].hex(),
        source_cluster=row[2],
        source_sequence=row[4],
        source_root=row[5],
        content=row[7],
        rows=row[8],
        sequence=row[14],
    )


def restore_certificate(head: Head, contents: Contents, value: object) -> RestoreCertificate:
    """Put together what a backup proves and what the restored cluster proves (see `prove`).

    Raises:
        BackupError: `malformed`.
    """
    source = SourceState(head.cluster_id, head.epoch, head.certificate, head.at_ms, head.changes)
    try:
        proof = msgspec.convert(value, RestoreProof)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BackupError("malformed", f"not a proof of a restore: {error}") from error
    return RestoreCertificate(PROOF_VERSION, source, contents.content.hex(), proof)


def verify_restore_certificate(
    data: bytes, source: TrustAnchor, target: TrustAnchor
) -> ProvenRestore:
    """Check a certificate against whom one trusts of both clusters.

    Raises:
        ProofError: Names the first check that failed.
    """
    try:
        shown = msgspec.json.decode(data, type=RestoreCertificate)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BackupError("malformed", f"not a certificate of a restore: {error}") from error
    if shown.source.cluster_id != source.cluster_id:
        raise BackupError("other_cluster", f"it is of cluster {shown.source.cluster_id!r}")
    current = follow(source, shown.source.changes)
    if shown.source.epoch != current.epoch:
        raise BackupError("other_epoch", f"it is of epoch {shown.source.epoch}")
    check_certificate(shown.source.certificate, current)
    proven = verify_restore(shown.proof, target)
    signed = shown.source.certificate
    if (proven.source_cluster, proven.source_sequence, proven.source_root) != (
        source.cluster_id,
        signed.sequence,
        signed.root,
    ):
        raise BackupError("other_root", "another state was restored than the one that was signed")
    if proven.content.hex() != shown.content:
        raise BackupError("other_content", "other content was restored than the certificate says")
    return proven
