"""What became of one document, newest first, out of the rows of recent changes.

Theory of operation: no row leads from a change to the one before it, so that a write costs nothing
for a history that nobody asks for. The rows are walked backwards instead, a slice at a time, and
only those are decoded in which the document is named: its collection and its id stand side by side
in a row, so looking for these bytes passes over the others at the speed of memory. A page further
back begins at the newest row all the same, to see whether there is an end above it: anybody can
name a place from before an erasure. What the page before looked at is left out, as long as the
node remembers that page.
"""

from collections.abc import Callable, Generator
from typing import Final, NamedTuple

import msgspec

from dataplane.documents.changes import ERASED, Changes, Walked, decode_change_row
from dataplane.documents.tables import HEADER_BYTES

SLICE_BYTES: Final = 256 * 1024
SLICE_ROWS: Final = 500
PAGE_BYTES: Final = 4 * 1024 * 1024
"""Documents of one page, beyond the first; a document alone may be larger."""
NEWEST: Final = (2**63, 0)
CREATED, DROPPED, WITHHELD = "created", "dropped", "erased"
"""Why a history begins: with the document, with a collection dropped, with a person erased."""
_encode: Final = msgspec.msgpack.Encoder().encode
_DROP: Final = "drop"


class Version(NamedTuple):
    """One change of the document."""

    sequence: int
    position: int
    at_ms: int
    operation: str
    version: int
    row: bytes | None
    """The document as stored, unless it is gone."""
    transaction: tuple[int, int] | None
    """(position of the first, count) of the changes of its transaction."""


class Beginning(NamedTuple):
    """Where what can be told begins, and why not earlier."""

    sequence: int
    reason: str


class Found(NamedTuple):
    """Some changes, newest first; and the beginning, when nothing older can be told."""

    versions: list[Version]
    beginning: Beginning | None


class _Walk:
    """A way back through the rows, as far as `place`: before it nothing was looked at."""

    def __init__(
        self, changes: Callable[[], Changes], names: tuple[str, str], before: tuple[int, int]
    ) -> None:
        collection, document_id = names
        self._changes, self._names, self._before = changes, names, before
        named = _encode(collection) + _encode(document_id)
        dropped = _encode(_DROP) + _encode(collection)
        self._needles = named, dropped
        self._needles_above = _encode(ERASED) + named, dropped
        """Of rows that tell nothing of this page, but may end the history."""
        self.place = NEWEST
        self._rows = changes()
        self._newest: int | None = None
        """The sequence of the first row that was looked at."""
        known = self._rows.walked.get(names)
        # Rows from there on down to the place were looked at for an earlier page.
        self._known = known.newest if known is not None and known.place <= before else -1
        self.found: list[Version] = []
        self.size_bytes = 0
        self.beginning: Beginning | None = None

    def slice(self, count_max: int) -> bool:
        """Look at some more rows; say whether there is an end."""
        examined = size_bytes = 0
        changes = self._changes()
        for sequence, first, stored in changes.back(*self.place):
            if (sequence, first) == self.place:
                continue
            if self._newest is None:
                self._newest = sequence
            if sequence <= self._known and changes is self._rows and self.place > self._before:
                self.place, self._known = self._before, -1
                return False
            is_above = (sequence, first) >= self._before
            needles = self._needles_above if is_above else self._needles
            if any(needle in stored for needle in needles):
                self._take(sequence, first, stored)
                if self.beginning is not None or self._is_full(count_max):
                    return True
            self.place = (sequence, first)
            examined += 1
            size_bytes += len(stored)
            if examined >= SLICE_ROWS or size_bytes >= SLICE_BYTES:
                return False
        floor = changes.floor
        self.beginning = Beginning(floor, changes.floor_reason if floor else CREATED)
        return True

    def note(self) -> None:
        """Remember how far this led without an end, unless other rows took the place of these."""
        if self._newest is not None and self._changes() is self._rows:
            # Of the row in which it stopped only what comes behind the last version was looked at.
            stopped = [(version.sequence, version.position) for version in self.found[-1:]]
            self._rows.note_walk(self._names, Walked(self._newest, min([self.place, *stopped])))

    def _is_full(self, count_max: int) -> bool:
        return len(self.found) >= count_max or self.size_bytes > PAGE_BYTES

    def _take(self, sequence: int, first: int, stored: bytes) -> None:
        """Take what a row says of the document, as far as it may be told."""
        row = decode_change_row(stored)
        end = self.place[1] if sequence == self.place[0] else first + len(row.changes)
        for position in range(min(end, first + len(row.changes)) - 1, first - 1, -1):
            what, collection, document_id, version, body = row.changes[position - first]
            if what == _DROP and collection == self._names[0]:
                self.beginning = Beginning(sequence, DROPPED)
                return
            if (collection, document_id) != self._names:
                continue
            if (sequence, position) < self._before:
                groups = [group for group in row.groups if 0 <= position - group[0] < group[1]]
                group = groups[0] if groups else None
                told = (row.at_ms, what, version, body, group)
                self.found.append(Version(sequence, position, *told))
                self.size_bytes += 0 if body is None else len(body) - HEADER_BYTES
            if what == ERASED:
                # What a person was erased from is told to nobody.
                self.beginning = Beginning(sequence, WITHHELD)
            elif what == "insert" and version == 1:
                # A later life of an id, or of any other in the collection, begins above.
                self.beginning = Beginning(sequence, CREATED)
            if self.beginning is not None:
                return


def history_steps(
    changes: Callable[[], Changes],
    names: tuple[str, str],
    *,
    before: tuple[int, int] = NEWEST,
    count_max: int,
) -> Generator[None, None, Found]:
    """Look for changes of a document before a place; every step is a turn of the node.

    The rows may change between two steps, and all of them be replaced, hence the callable.
    """
    walk = _Walk(changes, names, before)
    while not walk.slice(count_max):
        yield
    if walk.beginning is None:
        walk.note()
    if len(walk.found) > count_max:
        return Found(walk.found[:count_max], None)
    return Found(walk.found, walk.beginning)
