"""A filter on single documents, wherever they come from."""

from typing import Any, Final

from dataplane.documents.tables import DOCUMENT_KEY_BYTES
from dataplane.query.executor import compile_scan
from dataplane.query.filters import FilterParser
from dataplane.query.types import SLICE_BYTES, Limits
from dataplane.query.work import Work

_LIMITS: Final = Limits()
_KEY: Final = bytes(DOCUMENT_KEY_BYTES)


class Matcher:
    """Tells which documents a filter fits."""

    def __init__(self, given: Any, pointer: str) -> None:
        """Check and compile a filter.

        Raises:
            QueryError: With every fault, each under its JSON Pointer below `pointer`.
        """
        parser = FilterParser()
        self._scan = compile_scan(parser.filter(given, (pointer, 1)))
        self._weight, self._pointer = parser.weight, pointer

    def fits(self, document_id: str, row: bytes) -> bool:
        """Say whether a stored document fits.

        Raises:
            QueryTooCostlyError: Its arrays are too long for such a filter.
        """
        work = Work(_LIMITS, self._pointer, weight=self._weight)
        work.begin()
        entry = (_KEY + document_id.encode(), row)
        found, _, _, _ = self._scan((entry,), 1, SLICE_BYTES, work, 1)
        return bool(found)
