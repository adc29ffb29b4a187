"""Erasing a person, asked for again until it is over, or until nothing goes on any more."""

from typing import Any, Final

from dataplane.client import calls
from dataplane.client.calls import Call
from dataplane.client.errors import ErasureWaitsError

PAUSE_S: Final = 1.0
"""Between two questions while segments are made anew."""
PATIENCE: Final = 60
"""Questions after which nothing fewer is left."""


class Erasing:
    """One erasure as its client sees it."""

    def __init__(self, subject: str | int, erasure: str | None) -> None:
        self._subject = subject
        self._erasure = erasure
        self._least: int | None = None
        self._waited = 0
        self.receipt: dict[str, Any] = {}
        """The last answer; the receipt once it is over."""

    def call(self) -> Call:
        """Return the next question."""
        return calls.subject_erase(self._subject, self._erasure)

    def took(self, answer: dict[str, Any]) -> float | None:
        """Take an answer; return how long to wait before asking again, None when it is over.

        Raises:
            ErasureWaitsError: Segments that hold what was removed are not made anew.
        """
        self.receipt, self._erasure = answer, answer["erasure"]
        if answer["is_over"]:
            return None
        left = answer.get("segments_left", 0)
        if not left:
            return 0.0
        if self._least is None or left < self._least:
            self._least, self._waited = left, 0
        self._waited += 1
        if self._waited > PATIENCE:
            raise ErasureWaitsError(answer["erasure"], left)
        return PAUSE_S
