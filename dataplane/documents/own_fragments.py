"""A node's own fragments, each compared with what the state says of it before anybody gets it."""

from collections.abc import Callable

from dataplane.documents.cold import SegmentRecord, SegmentTable
from dataplane.storage.erasure import fragment_bytes, is_sound
from dataplane.storage.fragments import fragment_key, unpack
from dataplane.storage.ports import KeyValueStore


def _nobody(_record: SegmentRecord) -> None:
    """Heal nothing."""


class OwnFragments:
    """Reads what one member keeps of segments; it is told whose, since rows do not say it."""

    def __init__(
        self, member: int, table: Callable[[], SegmentTable], store: Callable[[], KeyValueStore]
    ) -> None:
        """Read what `table` tells from `store`; both may be others after a while."""
        self.member = member
        self.table = table
        self.on_unsound: Callable[[SegmentRecord], None] = _nobody
        """Told of each segment of which the own fragment was found missing or wrong."""
        self._store = store

    def fragment(self, record: SegmentRecord) -> bytes | None:
        """Return the own fragment of a segment; None without an honest one."""
        found = self._read(record)
        return None if found is None else found[1]

    def packed(self, record: SegmentRecord) -> bytes | None:
        """Return the own fragment of a segment as it is stored; None without an honest one."""
        found = self._read(record)
        return None if found is None else found[0]

    def is_kept(self, record: SegmentRecord) -> bool:
        """Whether this member has a fragment of a segment to keep."""
        return self.member in record.members and record.tier == "distributed"

    def _read(self, record: SegmentRecord) -> tuple[bytes, bytes] | None:
        if not self.is_kept(record):
            return None
        packed = self._store().get(fragment_key(record.collection, record.number))
        fragment = None
        if packed is not None:
            fragment = unpack(packed, fragment_bytes(record.size, record.k))
        place = record.members.index(self.member)
        if packed is None or fragment is None or not is_sound(fragment, place, record.fragments):
            self.on_unsound(record)
            return None
        return packed, fragment
