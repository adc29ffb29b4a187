"""The data directory of a node: one process at a time, and a count of its lives."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from dataplane.storage.errors import CorruptionError, DirectoryLockedError, FatalStorageError
from dataplane.storage.wal import SEGMENT_BYTES, WriteAheadLog


class DataDirectory:
    """Locks a directory and opens the log in it; the store goes to `state_path`.

    `incarnation` grows with every opening. It is written to the log before the directory's own
    file, so a log that does not know it was lost or comes from a backup.
    """

    def __init__(self, path: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open or create the directory.

        Raises:
            DirectoryLockedError: Another process has it open.
            CorruptionError: The log or the incarnation file is damaged; see `WriteAheadLog` for
                the other errors of the log.
            FatalStorageError: The operating system refused.
        """
        self._path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise FatalStorageError(f"cannot use {path}: {error}") from error
        try:
            self._lock()
            self.wal = WriteAheadLog(
                path / "wal",
                recorded_incarnation=self._recorded_incarnation(),
                segment_bytes=segment_bytes,
            )
            self._record_incarnation()
        except BaseException:
            os.close(self._lock_fd)
            raise

    @property
    def incarnation(self) -> int:
        """How many times this directory has been opened."""
        return self.wal.incarnation

    @property
    def state_path(self) -> Path:
        """Where the key-value store of this node lives."""
        return self._path / "state"

    @property
    def evidence_path(self) -> Path:
        """Where this node keeps proofs that others lied."""
        return self._path / "evidence.jsonl"

    def close(self) -> None:
        """Close the log and give up the lock."""
        if self._lock_fd < 0:
            return
        try:
            self.wal.close()
        finally:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DirectoryLockedError(f"{self._path} is used by another process") from error

    def _recorded_incarnation(self) -> int:
        try:
            text = (self._path / "incarnation").read_text()
        except FileNotFoundError:
            return 0
        if not text.strip().isascii() or not text.strip().isdigit():
            raise CorruptionError(f"unreadable incarnation file in {self._path}")
        return int(text)

    def _record_incarnation(self) -> None:
        new = self._path / "incarnation.new"
        try:
            with new.open("w") as file:
                file.write(f"{self.wal.incarnation}\n")
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path / "incarnation")
            descriptor = os.open(self._path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise FatalStorageError(f"cannot write to {self._path}: {error}") from error
