"""Decided batches as they are archived, each with the signatures of the quorum that decided it.

An archive is a directory of segments, named by the first and the last sequence in them. Nothing of
it is believed: a batch counts when a quorum of the members of its epoch signed that it is the one
at its sequence, so neither the node that sent it nor whoever kept it can change what happened.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import zstandard

from dataplane.client.anchors import TrustAnchor, follow, require_quorum
from dataplane.client.calls import Call
from dataplane.client.errors import ApiError, BackupError
from dataplane.consensus.messages import (
    Batch,
    CommittedEntry,
    decode_batch,
    digest_of,
    vote_payload,
)
from dataplane.wire.errors import MalformedMessageError
from dataplane.wire.proofs import EpochChange

MEDIA_TYPE: Final = "application/vnd.aerolith.batches"
PATH: Final = "/api/v1/batches"
MAGIC: Final = b"AEROLITH-BATCHES"
SEGMENT_BYTES_MAX: Final = 256 * 1024 * 1024
SUFFIX: Final = ".batches"
_DIGITS: Final = 16
_LEVEL: Final = 3


class Batches(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Batches in the order of their sequences, and who followed whom as members."""

    entries: tuple[CommittedEntry, ...]
    changes: tuple[EpochChange, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode: msgspec.msgpack.Decoder[Batches] = msgspec.msgpack.Decoder(Batches)


def encode_batches(batches: Batches) -> bytes:
    """Return the body in which a node sends batches."""
    return _encode(batches)


def decode_batches(data: bytes) -> Batches:
    """Return the batches in a body.

    Raises:
        BackupError: `malformed`.
    """
    try:
        return _decode.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BackupError("malformed", f"not a list of batches: {error}") from error


class Deciders:
    """Who could decide at which sequence: an anchor, and the changes of members after it."""

    def __init__(self, anchor: TrustAnchor) -> None:
        self._anchors = {anchor.epoch: anchor}
        self._ends: dict[int, int] = {}

    def learn(self, changes: tuple[EpochChange, ...]) -> None:
        """Take changes of members, each signed by those before it; known ones are passed over.

        Raises:
            ProofError: A change does not hold.
        """
        for change in changes:
            known = self._anchors.get(change.epoch)
            if known is None or change.epoch in self._ends:
                continue
            following = follow(known, (change,))
            self._anchors[following.epoch] = following
            self._ends[change.epoch] = change.sequence

    def decided(self, entry: CommittedEntry) -> Batch:
        """Return a batch that a quorum decided.

        Raises:
            ProofError: Names the first check that failed.
        """
        signed = entry.certificate
        anchor = self._anchors.get(signed.epoch)
        if anchor is None:
            raise BackupError("other_epoch", f"nobody is known who decides in epoch {signed.epoch}")
        begins = self._ends.get(signed.epoch - 1, 0)
        if not begins < signed.sequence <= self._ends.get(signed.epoch, signed.sequence):
            raise BackupError("other_epoch", f"{signed.sequence} is not of epoch {signed.epoch}")
        if digest_of(entry.batch) != signed.digest:
            raise BackupError("other_batch", f"the batch at {signed.sequence} is another one")
        payload = vote_payload(
            b"C",
            bytes.fromhex(anchor.cluster_id),
            epoch=signed.epoch,
            view=signed.view,
            sequence=signed.sequence,
            digest=signed.digest,
        )
        require_quorum(anchor, payload, signed.votes, f"the batch at {signed.sequence}")
        try:
            return decode_batch(entry.batch)
        except MalformedMessageError as error:
            raise BackupError("malformed", f"not a batch at {signed.sequence}") from error


def times_of(batches: Batches) -> list[tuple[int, int]]:
    """Return (sequence, proposed time in milliseconds) of batches that were checked."""
    return [(e.certificate.sequence, decode_batch(e.batch).ts_ms) for e in batches.entries]


# --- Segments -------------------------------------------------------------------------------------


def segment_name(batches: Batches) -> str:
    """Return the name of a segment, which sorts by its place."""
    first, last = (batches.entries[at].certificate.sequence for at in (0, -1))
    return f"{first:0{_DIGITS}d}-{last:0{_DIGITS}d}{SUFFIX}"


def pack_segment(batches: Batches) -> bytes:
    """Return a segment as it is kept."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    return MAGIC + compressor.compress(encode_batches(batches))


def unpack_segment(data: bytes) -> Batches:
    """Return the batches of a segment.

    Raises:
        BackupError: `malformed`.
    """
    if not data.startswith(MAGIC):
        raise BackupError("malformed", "this is no segment of an archive")
    try:
        plain = zstandard.ZstdDecompressor().decompress(
            data[len(MAGIC) :], max_output_size=SEGMENT_BYTES_MAX
        )
    except zstandard.ZstdError as error:
        raise BackupError("malformed", f"a segment is damaged: {error}") from error
    return decode_batches(plain)


class ArchiveDirectory:
    """Segments in a directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        """Return the segments in order."""
        return sorted(path.name for path in self._path.glob(f"*{SUFFIX}"))

    @property
    def last(self) -> int:
        """The last sequence that is archived, 0 when none is."""
        names = self.names()
        return int(names[-1].removesuffix(SUFFIX).split("-")[1]) if names else 0

    def add(self, batches: Batches) -> None:
        """Keep batches, whole or not at all."""
        self._path.mkdir(parents=True, exist_ok=True)
        partial = self._path / "partial"
        partial.write_bytes(pack_segment(batches))
        partial.replace(self._path / segment_name(batches))

    def read(self, after: int) -> Iterator[Batches]:
        """Yield the segments that reach beyond a sequence.

        Raises:
            BackupError: `malformed`.
        """
        for name in self.names():
            if int(name.removesuffix(SUFFIX).split("-")[1]) > after:
                yield unpack_segment((self._path / name).read_bytes())


def batches_after(sequence: int) -> Call:
    """Ask for the batches behind a sequence, as many as a node sends at once."""
    return Call("GET", PATH, params={"after": str(sequence)})


def fetch_batches(
    run: Callable[[Call], Any], deciders: Deciders, after: int, *, rounds_max: int
) -> Iterator[Batches]:
    """Yield what was decided after a sequence, checked, until a node has no more.

    Raises:
        ProofError: A node sent what was not decided.
        BackupError: `gap`: what follows the sequence is gone from the nodes.
    """
    for _ in range(rounds_max):
        try:
            batches = decode_batches(run(batches_after(after)))
        except ApiError as error:
            if error.code != "resync_required":
                raise
            raise BackupError("gap", f"the nodes no longer have what follows {after}") from error
        if not batches.entries:
            return
        deciders.learn(batches.changes)
        for entry in batches.entries:
            deciders.decided(entry)
            if entry.certificate.sequence != after + 1:
                raise BackupError("gap", f"{after + 1} is missing")
            after += 1
        yield batches
