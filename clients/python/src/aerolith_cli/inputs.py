"""What is typed on the command line, named as a file, or sent to standard input."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from aerolith_cli.exits import USAGE, CommandError

INPUT_BYTES_MAX: Final = 16 * 1024 * 1024


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Give a file to read; `-` is standard input.

    Raises:
        CommandError: It cannot be read.
    """
    try:
        if str(path) == "-":
            yield sys.stdin.buffer
            return
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", code=USAGE) from error


def read_json(what: str, text: str) -> Any:
    """Return the JSON in `text`; `@file` reads a file, `-` standard input.

    Raises:
        CommandError: It cannot be read, or is not JSON.
    """
    try:
        if text == "-":
            data = sys.stdin.buffer.read(INPUT_BYTES_MAX + 1)
        elif text.startswith("@"):
            with Path(text[1:]).open("rb") as file:
                data = file.read(INPUT_BYTES_MAX + 1)
        else:
            data = text.encode()
    except OSError as error:
        raise CommandError(f"cannot read {text[1:]}: {error.strerror}", code=USAGE) from error
    if len(data) > INPUT_BYTES_MAX:
        raise CommandError(f"{what} has over {INPUT_BYTES_MAX} bytes", code=USAGE)
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = "Put it in single quotes; @file reads a file, - standard input."
        raise CommandError(f"{what} is not JSON: {error}", code=USAGE, hint=hint) from error


def read_object(what: str, text: str) -> dict[str, Any]:
    """Return the JSON object in `text`; see `read_json`."""
    value = read_json(what, text)
    if not isinstance(value, dict):
        raise CommandError(f"{what} must be a JSON object", code=USAGE)
    return value


def read_objects(what: str, text: str) -> list[dict[str, Any]]:
    """Return the JSON array of objects in `text`; one object stands for an array of it."""
    value = read_json(what, text)
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in values):
        raise CommandError(f"{what} must be a JSON array of objects", code=USAGE)
    return values
