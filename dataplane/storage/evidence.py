"""The file of proofs that replicas lied: append-only, synced at once, bounded, read at start.

One line a proof: JSON, or the base64 of sealed JSON, bound to the number of the line. A line proves
itself by its signatures, so a damaged one is passed over instead of stopping the node: what it said
is known to the other nodes too.
"""

import base64
import binascii
import os
from pathlib import Path
from typing import Final

import msgspec

from dataplane.consensus.messages import EquivocationProof
from dataplane.storage.errors import FatalStorageError, UnknownKeyError
from dataplane.storage.files import open_private, sync_directory
from dataplane.storage.ports import Ciphers, number_of

FILE_BYTES_MAX: Final = 4 * 1024 * 1024
LINE_BYTES_MAX: Final = 8 * 1024
_JSON_START: Final = b"{"
_NUMBER_DIGITS: Final = 4
"""So much base64 tells the number of the key."""


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

    def __init__(self, path: Path, ciphers: Ciphers | None = None) -> None:
        """Open or create the file.

        Raises:
            FatalStorageError: The operating system refused.
            UnknownKeyError: A line is sealed under a key that `ciphers` does not hold.
        """
        self.damaged_count = 0
        self._path, self._ciphers = path, ciphers
        self._lines: list[bytes] = []
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self._size_bytes = self._cut_torn_line()
            self.records = self._read()
            sync_directory(path.parent)
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
        self._lines = data.splitlines()
        for number, line in enumerate(self._lines):
            try:
                records.append(_decoder.decode(self._opened(number, line)))
            except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error):
                self.damaged_count += 1
        return records

    def _opened(self, number: int, line: bytes) -> bytes:
        """Return the JSON of a line; nothing when it does not open."""
        if line.startswith(_JSON_START):
            return line
        sealed = base64.b64decode(line, validate=True)
        key = number_of(sealed)
        cipher = None if self._ciphers is None else self._ciphers.of(key)
        if cipher is None:
            raise UnknownKeyError(f"a proof is sealed under key {key}")
        return cipher.open(sealed, _place(number)) or b""

    def _sealed(self, number: int, plain: bytes) -> bytes:
        if self._ciphers is None:
            return plain
        return base64.b64encode(self._ciphers.current.seal(plain, _place(number)))

    def use(self, ciphers: Ciphers) -> None:
        """Seal what is written from now on."""
        self._ciphers = ciphers

    @property
    def is_stale(self) -> bool:
        """Whether a line is not under the key in use."""
        if self._ciphers is None:
            return False
        number = self._ciphers.current.number
        return any(_number_of_line(line) != number for line in self._lines)

    def reseal(self) -> None:
        """Write the file anew under the current key, whole or not at all; it is small.

        Lines that do not open are left out.

        Raises:
            FatalStorageError: The operating system refused.
        """
        plain = [self._opened(number, line) for number, line in enumerate(self._lines)]
        lines = [self._sealed(number, line) for number, line in enumerate(filter(None, plain))]
        draft = self._path.with_suffix(".resealing")
        try:
            with open_private(draft) as file:
                file.write(b"".join(line + b"\n" for line in lines))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
            sync_directory(self._path.parent)
            os.close(self._fd)
            self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND)
            self._size_bytes = os.fstat(self._fd).st_size
        except OSError as error:
            raise FatalStorageError(f"cannot write evidence: {error}") from error
        self._lines = lines

    def append(self, record: StoredEvidence) -> bool:
        """Write a record and sync it; return False when the file is full.

        Raises:
            FatalStorageError: The operating system refused.
        """
        sealed = self._sealed(len(self._lines), _encoder.encode(record))
        line = sealed + b"\n"
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
        self._lines.append(sealed)
        return True

    def close(self) -> None:
        """Close the file; calling it again does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _number_of_line(line: bytes) -> int:
    """Return the number of the key a line is under, 0 for none."""
    if line.startswith(_JSON_START):
        return 0
    try:
        return number_of(base64.b64decode(line[:_NUMBER_DIGITS]))
    except binascii.Error:
        return 0


def _place(number: int) -> bytes:
    return b"evidence" + number.to_bytes(8, "big")
