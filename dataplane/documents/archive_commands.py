"""The operations by which members move segments to the archive, or have dead ones kept."""

from dataplane.documents.operation import Operation


class ArchiveSeen(Operation, frozen=True):
    """A member tells which objects of the archive it read back whole, and which it saw gone.

    `stored` are numbers of segments that are leaving, `gone` of segments that are no more. It
    counts for the member whose gateway signed the request, once, and does nothing by itself.
    """

    stored: tuple[int, ...] = ()
    gone: tuple[int, ...] = ()


class ArchiveSalt(Operation, frozen=True):
    """Choose what the archive key of a collection with a key of its own is derived with.

    The first is kept, until the collection is dropped: what is under the key is lost with it.
    """

    collection: int
    salt: bytes


class Hold(Operation, frozen=True):
    """Keep segments that hold nothing any more for so long, for who reads an earlier moment.

    It is bounded (`holding.HOLD_MS_MAX`), renewed by the next one, and does nothing where no
    document is cold.
    """

    for_ms: int


# No alias of its own (`type`): whoever asks which operations there are finds each of them.
TierOp = ArchiveSeen | ArchiveSalt | Hold
