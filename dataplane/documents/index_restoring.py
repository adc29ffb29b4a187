"""Indexes of a backup: what they are is brought back, their entries are made anew."""

import msgspec

from dataplane.documents.errors import invalid
from dataplane.documents.index_definitions import (
    check_definition,
    check_index_name,
    check_seconds,
    decode_definition,
    encode_definition,
)
from dataplane.documents.indexes import OPTION_NAMES
from dataplane.documents.tables import INDEX, Batch, IndexRow, MetaRow, decode_index, encode_row


def check_index_row(name: bytes, value: bytes) -> None:
    """Refuse the row of an index that cannot be one.

    Raises:
        Refusal: `invalid`, `malformed`.
    """
    try:
        given, row = name.decode(), decode_index(value)
        definition = decode_definition(row.definition)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise invalid("/rows", "an index that cannot be read") from error
    if encode_definition(definition) != row.definition or row.created_us < 0:
        raise invalid("/rows", "an index that is not encoded as the database does")
    if given in OPTION_NAMES:
        check_seconds(definition.expire_after_s, "/rows")
        if definition.fields or definition.partial or definition.unique or definition.sparse:
            raise invalid("/rows", "an index that no option makes")
    else:
        check_index_name(given)
        check_definition(definition)


def renew_rows(batch: Batch, meta: MetaRow) -> None:
    """Let every index that was loaded be built from the beginning, under a number of its own."""
    for key, row in _rows(batch):
        old = decode_index(row)
        fresh = IndexRow(meta.next_index, old.created_us, old.definition)
        meta.next_index += 1
        batch.put(key, encode_row(fresh))


def forget_rows(batch: Batch) -> None:
    """Remove every index that was loaded."""
    for key, _ in _rows(batch):
        batch.delete(key)


def _rows(batch: Batch) -> list[tuple[bytes, bytes]]:
    """Return the rows of all indexes, those of this very batch too."""
    keys = {key for key, _ in batch.store.iterate(INDEX)}
    keys |= {key for key in batch.changes if key.startswith(INDEX)}
    return [(key, row) for key in sorted(keys) if (row := batch.get(key)) is not None]
