"""Who may call, and whether there is room for the call: the same for every protocol."""

from typing import Final

from dataplane.documents.view import StateView
from dataplane.gateways.auth import Caller, authenticate
from dataplane.gateways.calls import CallMeter
from dataplane.ports import Clock

FREE_WHEN_SPENT: Final = frozenset({"delete"})
"""Classes that are counted but never refused: deleting is how a full plan is cured."""


class Admission:
    """The door of a node."""

    def __init__(self, view: StateView, meter: CallMeter, clock: Clock) -> None:
        self._view = view
        self._meter = meter
        self._clock = clock

    def caller_of(self, authorization: str | None) -> Caller:
        """Return who calls, by the value of an Authorization header.

        Raises:
            Problem: `unauthenticated`.
        """
        return authenticate(authorization, self._view, self._clock.now_ms())

    def charge(self, call_class: str) -> None:
        """Count a call; the empty class is free.

        Raises:
            Problem: `quota_exceeded`.
        """
        if not call_class:
            return
        if call_class not in FREE_WHEN_SPENT:
            self._meter.check(self._clock.now_ms())
        self._meter.count("write" if call_class == "delete" else call_class)
