"""Counting API calls, and refusing them when the plan's are used up.

The total is replicated: every gateway reports what it served as an ordered command, at most once a
second, so that all nodes enforce the same number, and it is the number that is shown and billed.
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Final

from dataplane.documents.accounting import RATES_MAX
from dataplane.documents.commands import ReportCalls, encode_op
from dataplane.documents.view import StateView
from dataplane.gateways.errors import Problem

REPORT_S: Final = 1.0
CALL_CLASSES: Final = ("read", "write", "query", "admin")

type Submit = Callable[[bytes], Awaitable[None]]


class CallMeter:
    """One gateway's calls that the cluster does not know of yet."""

    def __init__(self, node_id: int, view: StateView) -> None:
        self._node_id = node_id
        self._view = view
        self._unreported: dict[str, int] = {}
        self._by_key: dict[str, int] = {}
        self._since_ms = 0
        self._in_report = 0

    def count(self, call_class: str) -> None:
        """Count one call."""
        assert call_class in CALL_CLASSES
        self._unreported[call_class] = self._unreported.get(call_class, 0) + 1

    def count_key(self, name: str) -> None:
        """Count one call of a key that has a rate, as far as there is room to tell of it."""
        known = self._by_key.get(name, 0)
        if known or len(self._by_key) < RATES_MAX:
            self._by_key[name] = known + 1

    @property
    def used(self) -> int:
        """Calls of the period as far as this gateway knows."""
        return self._view.quota().calls_used + self._in_report + sum(self._unreported.values())

    def check(self, now_ms: int) -> None:
        """Refuse when the plan's calls are used up.

        Raises:
            Problem: `quota_exceeded` with limit, used and resets.
        """
        quota = self._view.quota()
        if quota.calls_limit is None or self.used < quota.calls_limit:
            return
        wait_s = max(1, (quota.calls_resets_ms - now_ms) // 1000)
        raise Problem(
            "quota_exceeded",
            "the calls of this plan are used up; upgrade the plan or wait for the new period",
            {
                "limit": quota.calls_limit,
                "used": self.used,
                "resets": timestamp_ms(quota.calls_resets_ms),
            },
            retry_after_s=wait_s,
        )

    def take_report(self, now_ms: int) -> bytes | None:
        """Return the command that reports what was counted, None when there is nothing.

        Ask at least every few seconds: rates are those since the last time this was asked. Calls
        that cost nothing are no reason for a report, which a quiet cluster would order for ever.
        """
        if self._in_report:
            return None
        by_key, self._by_key = self._by_key, {}
        span_ms, self._since_ms = max(1_000, now_ms - self._since_ms), now_ms
        if not self._unreported:
            return None
        counts, self._unreported = self._unreported, {}
        self._in_report = sum(counts.values())
        rates = {name: -(-count * 1_000 // span_ms) for name, count in by_key.items()}
        return encode_op(ReportCalls(self._node_id, counts, rates))

    def reported(self) -> None:
        """The last report is ordered, or its outcome is unknown: it is never sent again.

        A report that got no answer may still be ordered later; sending it twice could bill a call
        twice, losing it bills it never.
        """
        self._in_report = 0


def timestamp_ms(at_ms: int) -> str:
    """Return RFC 3339 UTC of milliseconds since 1970."""
    return timestamp_us(at_ms * 1000)


def timestamp_us(at_us: int) -> str:
    """Return RFC 3339 UTC with microseconds."""
    seconds, micros = divmod(at_us, 1_000_000)
    return f"{_second_text(seconds)}.{micros:06d}Z"


@lru_cache(maxsize=256)
def _second_text(seconds: int) -> str:
    """Return RFC 3339 up to the second; what is written together was written in one second."""
    days, rest = divmod(seconds, 86_400)
    year, month, day = _civil(days)
    hour, rest = divmod(rest, 3600)
    minute, second = divmod(rest, 60)
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"


def _civil(days: int) -> tuple[int, int, int]:
    """Return (year, month, day) of days since 1970-01-01 (Hinnant, "chrono-compatible dates")."""
    shifted = days + 719_468
    era, day_of_era = divmod(shifted, 146_097)
    year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    return year_of_era + era * 400 + (month <= 2), month, day
