"""Calls, storage and their limits, counted in batch time so that every replica agrees."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec

from dataplane.documents.commands import QuotaPut, ReportCalls
from dataplane.documents.errors import STORAGE_QUOTA_EXCEEDED, Refusal, invalid
from dataplane.documents.keys import RATE_MAX
from dataplane.documents.tables import (
    CALLS,
    QUOTA,
    STORAGE_WINDOW,
    USAGE_WINDOW,
    Batch,
    MetaRow,
    QuotaRow,
    decode_quota,
    encode_row,
    key_numbers,
    number_key,
)
from dataplane.documents.types import QuotaRecord, StorageWindow, UsageWindow
from dataplane.storage.ports import KeyValueStore

KEEP_MS: Final = 48 * 3_600_000
CLASSES_MAX: Final = 16
CALLS_MAX: Final = 2**40
NODES_MAX: Final = 64
RATES_MAX: Final = 256
RATE_NAME_MAX: Final = 256
RATES_KEPT_MS: Final = 3_000
LIMIT_MAX: Final = 2**62

_encode_counts = msgspec.msgpack.Encoder(order="sorted").encode
_decode_counts = msgspec.msgpack.Decoder(dict[str, int]).decode


class Accounting:
    """The quota row, the call counters and the usage windows."""

    def __init__(self, store: KeyValueStore, meta: MetaRow) -> None:
        self._store = store
        self._meta = meta
        self._told: dict[int, tuple[int, dict[str, int]]] = {}
        """Node -> when it last told the rates of keys, and these: for gateways, and no state."""
        stored = store.get(QUOTA)
        self.quota = QuotaRow() if stored is None else decode_quota(stored)
        self._oldest_window = min(
            [key_numbers(key)[0] for key, _ in self._windows(store)], default=None
        )

    def set_quota(self, batch: Batch, operation: QuotaPut) -> None:
        """Replace the limits.

        Raises:
            Refusal: A limit or the period makes no sense.
        """
        for name in ("calls_limit", "storage_limit_bytes", "period_start_ms", "period_end_ms"):
            value = getattr(operation, name)
            if value is not None and not 0 <= value <= LIMIT_MAX:
                raise invalid(f"/{name}", "out of range")
        start, end = operation.period_start_ms, operation.period_end_ms
        if (start is None and end is not None) or (start and end and end <= start):
            raise invalid("/period_end_ms", "the period must end after it starts")
        rate = operation.requests_per_s
        if rate is not None and not 1 <= rate <= RATE_MAX:
            raise invalid("/requests_per_s", f"from 1 to {RATE_MAX}")
        self.quota = QuotaRow(
            operation.calls_limit, operation.storage_limit_bytes, start, end, rate
        )
        batch.put(QUOTA, encode_row(self.quota))

    def check(self, delta: int) -> None:
        """Refuse growth above the storage limit.

        Raises:
            Refusal: `storage_quota_exceeded`.
        """
        limit = self.quota.storage_limit_bytes
        if delta > 0 and limit is not None and self._meta.bytes + delta > limit:
            raise Refusal(STORAGE_QUOTA_EXCEEDED, f"the plan stores {limit} bytes")

    def report(self, batch: Batch, operation: ReportCalls) -> None:
        """Add the calls that a gateway served.

        Raises:
            Refusal: The report is out of bounds.
        """
        counts = operation.calls_by_class
        if not 0 <= operation.node < NODES_MAX or len(counts) > CLASSES_MAX:
            raise invalid("/node", "out of range")
        if any(not 0 <= count <= CALLS_MAX for count in counts.values()):
            raise invalid("/calls_by_class", "out of range")
        rates = operation.rates
        if len(rates) > RATES_MAX or any(not 0 <= rate <= CALLS_MAX for rate in rates.values()):
            raise invalid("/rates", "out of range")
        if any(len(name) > RATE_NAME_MAX for name in rates):
            raise invalid("/rates", "a name is too long")
        self._told[operation.node] = self._meta.now_ms, rates
        window = self._window_start(self._meta.now_ms)
        self._add(batch, number_key(USAGE_WINDOW, window, operation.node), counts)
        start, _ = self._period()
        self._add(batch, number_key(CALLS, start), {"": sum(counts.values())})
        self._note_window(window)

    def rate_elsewhere(self, key: str, node: int, now_ms: int) -> int:
        """Return how often a key asked the other gateways in a second, as they told lately."""
        return sum(
            [
                rates.get(key, 0)
                for other, (at_ms, rates) in self._told.items()
                if other != node and at_ms + RATES_KEPT_MS > now_ms
            ]
        )

    def advance(self, batch: Batch) -> None:
        """Close the windows that ended before the new batch time, and forget old ones."""
        meta = self._meta
        current = self._window_start(meta.now_ms)
        if meta.window_start_ms == 0:
            meta.window_start_ms = current
        first = max(meta.window_start_ms, self._window_start(max(meta.now_ms - KEEP_MS, 0)))
        for window in range(first, current, meta.usage_window_ms):
            batch.put(number_key(STORAGE_WINDOW, window), msgspec.msgpack.encode(meta.bytes))
            self._note_window(window)
        meta.window_start_ms = current
        oldest = self._oldest_window
        if oldest is not None and oldest + meta.usage_window_ms + KEEP_MS <= meta.now_ms:
            self._forget_old(batch)

    def record(self, batch: Batch | None = None) -> QuotaRecord:
        """Return the limits and what is used of them."""
        start, end = self._period()
        key = number_key(CALLS, start)
        row = self._store.get(key) if batch is None else batch.get(key)
        used = 0 if row is None else _decode_counts(row).get("", 0)
        return QuotaRecord(
            self.quota.calls_limit,
            used,
            end,
            self.quota.storage_limit_bytes,
            self._meta.bytes,
            self.quota.requests_per_s,
        )

    def usage_windows(self, closed_before_ms: int) -> list[UsageWindow]:
        """Return the call counts of the windows that ended at or before the given time."""
        # A window that batch time has not left may still grow, whatever the caller's clock says.
        closed_before_ms = min(closed_before_ms, self._window_start(self._meta.now_ms))
        found: list[UsageWindow] = []
        for key, row in self._store.iterate(USAGE_WINDOW):
            window, node = key_numbers(key)
            if window + self._meta.usage_window_ms > closed_before_ms:
                break
            found += [UsageWindow(window, node, *item) for item in _decode_counts(row).items()]
        return found

    def storage_windows(self, closed_before_ms: int) -> list[StorageWindow]:
        """Return the stored bytes at the end of the windows that ended by the given time."""
        return [
            StorageWindow(key_numbers(key)[0], msgspec.msgpack.decode(row, type=int))
            for key, row in self._store.iterate(STORAGE_WINDOW)
            if key_numbers(key)[0] + self._meta.usage_window_ms <= closed_before_ms
        ]

    def _window_start(self, at_ms: int) -> int:
        return at_ms - at_ms % self._meta.usage_window_ms

    def _period(self) -> tuple[int, int]:
        """Return the (start, end) of the period that calls count in."""
        now = self._meta.now_ms
        start, end = self.quota.period_start_ms, self.quota.period_end_ms
        if start is not None and end is not None and start <= now < end:
            return start, end
        moment = datetime.fromtimestamp(now // 1000, UTC)
        first = datetime(moment.year, moment.month, 1, tzinfo=UTC)
        years, month = divmod(moment.month, 12)
        following = datetime(moment.year + years, month + 1, 1, tzinfo=UTC)
        return int(first.timestamp()) * 1000, int(following.timestamp()) * 1000

    @staticmethod
    def _add(batch: Batch, key: bytes, counts: dict[str, int]) -> None:
        row = batch.get(key)
        totals = {} if row is None else _decode_counts(row)
        for name, count in counts.items():
            totals[name] = min(totals.get(name, 0) + count, LIMIT_MAX)
        batch.put(key, _encode_counts(totals))

    def _note_window(self, window: int) -> None:
        if self._oldest_window is None or window < self._oldest_window:
            self._oldest_window = window

    @staticmethod
    def _windows(store: KeyValueStore) -> Iterator[tuple[bytes, bytes]]:
        for prefix in (USAGE_WINDOW, STORAGE_WINDOW):
            yield from store.iterate(prefix)

    def _forget_old(self, batch: Batch) -> None:
        horizon = self._meta.now_ms - KEEP_MS - self._meta.usage_window_ms
        stored = [key for key, _ in self._windows(self._store)]
        for key in stored:
            if key_numbers(key)[0] <= horizon:
                batch.delete(key)
        fresh = [key for key in batch.changes if key[:1] in {USAGE_WINDOW, STORAGE_WINDOW}]
        kept = [key_numbers(key)[0] for key in stored + fresh if batch.get(key) is not None]
        self._oldest_window = min(kept, default=None)
