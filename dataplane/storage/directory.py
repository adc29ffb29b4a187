"""The data directory of a node: one process at a time, and a count of its lives."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dataplane.storage.errors import (
    CorruptionError,
    DirectoryLockedError,
    FatalStorageError,
    MissingLogError,
    StaleLogError,
)
from dataplane.storage.files import sync_directory
from dataplane.storage.ports import Ciphers
from dataplane.storage.wal import SEGMENT_BYTES, WriteAheadLog

_AMNESIA: Final = "amnesia"


class DataDirectory:
    """Locks a directory and opens the log in it; the store goes to `state_path`.

    `incarnation` grows with every opening. It is written to the log before the directory's own
    file, so a log that does not know it was lost or comes from a backup.

    A log that is damaged where it was synced, gone, or older than it should be has forgotten votes.
    It is set aside, a new one takes its place, and `amnesia` says why, from now on and for ever:
    the node may learn what the others decide, but a vote of it could contradict an earlier one.
    """

    def __init__(
        self,
        path: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        open_ciphers: Callable[[Path], Ciphers | None] = lambda _: None,
    ) -> None:
        """Open or create the directory.

        `open_ciphers` is called once the directory is locked, and returns what the log is under.

        Raises:
            DirectoryLockedError: Another process has it open.
            FatalStorageError: The operating system refused.
            UnknownKeyError: The log is sealed under a key that is not there.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise FatalStorageError(f"cannot use {path}: {error}") from error
        try:
            self._lock()
            self._ciphers = open_ciphers(path)
            self.amnesia = self._recorded_amnesia()
            self.wal = self._open_log(segment_bytes)
            self._write("incarnation", f"{self.wal.incarnation}\n")
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
        return self.path / "state"

    @property
    def sealed_path(self) -> Path:
        """Where the key-value store of this node lives when it is encrypted."""
        return self.path / "state.sealed"

    def drop_lost_log(self) -> None:
        """Remove the log that was set aside: it is under no key, or under an old one."""
        shutil.rmtree(self.path / "wal.lost", ignore_errors=True)

    @property
    def evidence_path(self) -> Path:
        """Where this node keeps proofs that others lied."""
        return self.path / "evidence.jsonl"

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
            raise DirectoryLockedError(f"{self.path} is used by another process") from error

    def _open_log(self, segment_bytes: int) -> WriteAheadLog:
        path, recorded = self.path / "wal", 0
        try:
            recorded = self._recorded_incarnation()
            return WriteAheadLog(
                path,
                recorded_incarnation=recorded,
                is_replacement=self.amnesia is not None,
                segment_bytes=segment_bytes,
                ciphers=self._ciphers,
            )
        except (CorruptionError, MissingLogError, StaleLogError) as error:
            # Written down before anything else: a crash from here on must not forget it.
            self._write(_AMNESIA, f"{error.code}: {error}\n")
            self.amnesia = self.amnesia or f"{error.code}: {error}"
        self._set_aside(path)
        return WriteAheadLog(
            path,
            recorded_incarnation=recorded,
            is_replacement=True,
            segment_bytes=segment_bytes,
            ciphers=self._ciphers,
        )

    def _set_aside(self, path: Path) -> None:
        """Keep the first lost log for whoever looks into it; a later one holds no votes."""
        aside = path.with_name("wal.lost")
        try:
            if not path.exists():
                return
            if aside.exists():
                shutil.rmtree(path)
            else:
                path.rename(aside)
        except OSError as error:
            raise FatalStorageError(f"cannot set {path} aside: {error}") from error

    def _recorded_amnesia(self) -> str | None:
        try:
            return (self.path / _AMNESIA).read_text(errors="replace").strip()
        except FileNotFoundError:
            return None

    def _recorded_incarnation(self) -> int:
        try:
            text = (self.path / "incarnation").read_text(errors="replace")
        except FileNotFoundError:
            return 0
        if not text.strip().isascii() or not text.strip().isdigit():
            raise CorruptionError(f"unreadable incarnation file in {self.path}")
        return int(text)

    def _write(self, name: str, text: str) -> None:
        """Replace a small file, durably and whole."""
        new = self.path / f"{name}.new"
        try:
            with new.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path / name)
            sync_directory(self.path)
        except OSError as error:
            raise FatalStorageError(f"cannot write to {self.path}: {error}") from error
