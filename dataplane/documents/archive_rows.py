"""The rows about the archive: what keys of collections are made of, and what is to be removed."""

from typing import Final

import msgspec

from dataplane.documents.tables import DEAD, Row

ARCHIVE_SALT: Final = b"J"
"""By collection, whose numbers begin with a lower byte than what else begins with this letter."""
ARCHIVE_LEFT: Final = b"Jx"
"""By segment."""


class LeftRow(Row):
    """What may be left in the archive of a segment that is no more, until members saw it gone."""

    collection: int
    digest: bytes
    since: int
    """The sequence from which on it may hold what a person was erased from."""
    attested: tuple[int, ...] = ()


decode_left = msgspec.msgpack.Decoder(LeftRow).decode


def salt_key(collection: int) -> bytes:
    """Return the key of what the archive key of a collection is made of."""
    key = ARCHIVE_SALT + collection.to_bytes(4, "big")
    assert key < DEAD, "there are not that many collections"
    return key


def left_key(number: int) -> bytes:
    """Return the key of what is left in the archive of a segment."""
    return ARCHIVE_LEFT + number.to_bytes(8, "big")
