"""Syncing the log, learning what that costs here, and dropping what nobody needs any more."""

import time
from collections.abc import Callable
from typing import Final

from dataplane.documents.types import Executor
from dataplane.storage.wal import WriteAheadLog

TRUNCATE_EVERY: Final = 512
SYNC_QUICK_S: Final = 0.002
SYNC_MEMORY: Final = 0.9


class LogKeeping:
    """One node's log; `sync_and_trim` may run in a thread of its own, one at a time."""

    def __init__(
        self,
        wal: WriteAheadLog,
        flush: Callable[[], None],
        executor: Executor,
        *,
        retained: int,
    ) -> None:
        self._wal = wal
        self._flush_store = flush
        self._executor = executor
        self._retained = retained
        self._sync_s = 0.0
        self._truncated = 0
        self.stable = 0
        """The newest checkpoint whose record is on disk: the log may shrink up to it."""

    @property
    def wants_thread(self) -> bool:
        """Whether syncing takes longer than changing threads does, or trimming is due."""
        return self._sync_s > SYNC_QUICK_S or self._is_trim_due()

    def _is_trim_due(self) -> bool:
        return min(self.stable, self._executor.applied) - self._truncated >= TRUNCATE_EVERY

    def sync(self) -> None:
        """Write and sync the log, and learn how long that takes here."""
        began_ns = time.perf_counter_ns()
        self._wal.sync()
        took_s = (time.perf_counter_ns() - began_ns) / 1e9
        self._sync_s = took_s * (1 - SYNC_MEMORY) + self._sync_s * SYNC_MEMORY

    def sync_and_trim(self) -> None:
        """Sync; now and then drop what is stable and older than peers may ask for."""
        self.sync()
        if self._is_trim_due():
            reached = min(self.stable, self._executor.applied)
            self._flush_store()
            self._truncated = reached
            self._wal.truncate_before(reached - self._retained)
