"""Persons that documents are about: which field names them, and in which documents one is named."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from blake3 import blake3

from dataplane.documents.errors import invalid
from dataplane.documents.values import Json, unpack_document

SUBJECT_OPTION: Final = "subject"
PATH_CHARS_MAX: Final = 200
PARTS_MAX: Final = 8
SALT_BYTES: Final = 16
SUBJECT_CHARS_MAX: Final = 512

type Subject = str | int
"""What names a person."""


def check_subject_option(options: Json) -> None:
    """Refuse a `subject` option that is no path.

    Raises:
        Refusal: `invalid`.
    """
    path = options.get(SUBJECT_OPTION)
    if path is None:
        return
    if not isinstance(path, str) or not 0 < len(path) <= PATH_CHARS_MAX:
        raise invalid(f"/{SUBJECT_OPTION}", "the dotted path of a field")
    parts = path.split(".")
    if len(parts) > PARTS_MAX or not all(parts) or any(part[0] in "_$" for part in parts):
        raise invalid(f"/{SUBJECT_OPTION}", f"1 to {PARTS_MAX} names of fields, with dots between")


def subject_field(options: bytes) -> str | None:
    """Return the field that names persons, by the packed options of a collection."""
    try:
        path = unpack_document(options).get(SUBJECT_OPTION)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return path if isinstance(path, str) else None


def subject_hash(salt: bytes, subject: Subject) -> bytes:
    """Return what stands for a person where the name is not to be."""
    return blake3(b"AEROL1|SUBJECT|" + salt + msgspec.msgpack.encode(subject)).digest()


def subjects_at(value: Any, path: str) -> Iterator[Subject]:
    """Yield what a document has at a path, through arrays as queries go."""
    yield from _walk(value, path.split("."))


def _walk(value: Any, parts: list[str]) -> Iterator[Subject]:
    if isinstance(value, list):
        for item in value:
            yield from _walk(item, parts)
    elif not parts:
        if isinstance(value, str) or type(value) is int:
            yield value
    elif isinstance(value, dict) and parts[0] in value:
        yield from _walk(value[parts[0]], parts[1:])


def names(value: Any, path: str, salt: bytes, wanted: bytes) -> bool:
    """Whether a document names the person whose hash is given."""
    return any(subject_hash(salt, found) == wanted for found in subjects_at(value, path))
