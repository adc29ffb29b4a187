"""The file of proofs that replicas lied: append-only, synced at once, bounded, read at start.

One JSON line a proof. A line proves itself by its signatures, so a damaged one is passed over
instead of stopping the node: what it said is known to the other nodes too.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from dataplane.consensus.messages import EquivocationProof
from dataplane.storage.errors import FatalStorageError

FILE_BYTES_MAX: Final = 4 * 1024 * 1024
LINE_BYTES_MAX: Final = 4 * 1024


class StoredEvidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A proof, when this node got it, and from whom (None: it met both messages itself).

    `public_key` is the accused's at that time: a later epoch may not know it any more.
    """

    proof: EquivocationProof
    public_key: bytes
    seen_ms: int
    told_by: int | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(StoredEvidence)


class EvidenceLog:
    """The file; `records` has what was in it, `damaged_count` how many lines were not readable."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            FatalStorageError: The operating system refused.
        """
        self.damaged_count = 0
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self._size_bytes = self._cut_torn_line()
            self.records = self._read()
            self._sync_directory(path.parent)
        except OSError as error:
            raise FatalStorageError(f"cannot use {path}: {error}") from error

    def _cut_torn_line(self) -> int:
        """Drop what a crash left behind the last whole line; return the size."""
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, LINE_BYTES_MAX, max(0, size - LINE_BYTES_MAX))
        if tail and not tail.endswith(b"\n"):
            size -= len(tail) - (tail.rfind(b"\n") + 1)
            os.ftruncate(self._fd, size)
        return size

    def _read(self) -> list[StoredEvidence]:
        data = os.pread(self._fd, min(self._size_bytes, FILE_BYTES_MAX), 0)
        records: list[StoredEvidence] = []
        for line in data.splitlines():
            try:
                records.append(_decoder.decode(line))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                self.damaged_count += 1
        return records

    @staticmethod
    def _sync_directory(path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def append(self, record: StoredEvidence) -> bool:
        """Write a record and sync it; return False when the file is full.

        Raises:
            FatalStorageError: The operating system refused.
        """
        line = _encoder.encode(record) + b"\n"
        if len(line) > LINE_BYTES_MAX or self._size_bytes + len(line) > FILE_BYTES_MAX:
            return False
        try:
            written = os.write(self._fd, line)
            os.fsync(self._fd)
        except OSError as error:
            raise FatalStorageError(f"cannot write evidence: {error}") from error
        if written != len(line):
            raise FatalStorageError("cannot write evidence: the disk is full")
        self._size_bytes += written
        return True

    def close(self) -> None:
        """Close the file; calling it again does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
