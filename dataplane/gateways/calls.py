"""Counting API calls, and refusing them when the plan's are used up.

The total is replicated: every gateway reports what it served as an ordered command, at most once a
second, so that all nodes enforce the same number, and it is the number that is shown and billed.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from dataplane.documents.accounting import RATES_MAX
from dataplane.documents.commands import ReportCalls, encode_op
from dataplane.documents.rendering import timestamp
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
    return timestamp(at_ms * 1000)
