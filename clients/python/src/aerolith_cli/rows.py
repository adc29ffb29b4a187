"""Files as rows: CSV, NDJSON, JSON arrays and Parquet, read as they are needed."""

import csv
import importlib.util
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import msgspec

from aerolith_cli.exits import USAGE, CommandError

LINE_BYTES_MAX: Final = 16 * 1024 * 1024
JSON_BYTES_MAX: Final = 256 * 1024 * 1024
"""A JSON array is read at one go; what is larger belongs into lines."""
PARQUET_BATCH: Final = 1_000
JSON_MARK: Final = b"aerolith"
"""In the metadata of a column of Parquet: its text is JSON, as an export writes mixed values."""
# Leading zeros mean a code (a postal code, a phone number), not a number.
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})", re.ASCII)
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_BOOLEANS: Final = {"true": True, "false": False}
_SUFFIXES: Final[dict[str, "Format"]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "json",
    ".parquet": "parquet",
}

type Format = Literal["csv", "ndjson", "json", "parquet"]
FORMATS: Final[tuple[Format, ...]] = ("csv", "ndjson", "json", "parquet")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, counted from 1, or what is wrong with it."""

    number: int
    document: dict[str, Any] | None
    fault: str = ""


def format_of(path: Path | None, named: str | None) -> Format:
    """Return the format that was named, or the one that the name of the file says.

    Raises:
        CommandError: Neither says it.
    """
    for known in FORMATS:
        if named == known:
            return known
    if named is None and path is not None and path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()]
    hint = f"Use --format with one of {', '.join(FORMATS)}."
    raise CommandError("which format?", code=USAGE, hint=hint)


def read_rows(file: BinaryIO, kind: Format, *, text_only: bool, is_tabs: bool) -> Iterator[Row]:
    """Yield the rows of a file.

    Raises:
        CommandError: The file as a whole cannot be read.
    """
    match kind:
        case "csv":
            yield from _csv_rows(file, text_only=text_only, delimiter="\t" if is_tabs else ",")
        case "ndjson":
            yield from _lines(file)
        case "json":
            yield from _array(file)
        case "parquet":
            yield from _parquet_rows(file)


def _document(number: int, value: Any) -> Row:
    if isinstance(value, dict):
        return Row(number, value)
    return Row(number, None, "not a JSON object")


def _lines(file: BinaryIO) -> Iterator[Row]:
    number = 0
    while line := file.readline(LINE_BYTES_MAX + 1):
        if not line.strip():
            continue
        number += 1
        if len(line) > LINE_BYTES_MAX:
            raise CommandError(f"row {number} has over {LINE_BYTES_MAX} bytes", code=USAGE)
        try:
            yield _document(number, msgspec.json.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            yield Row(number, None, f"not JSON: {error}")


def _array(file: BinaryIO) -> Iterator[Row]:
    data = file.read(JSON_BYTES_MAX + 1)
    if len(data) > JSON_BYTES_MAX:
        hint = "Write one document a line and name the file .ndjson."
        raise CommandError(f"a JSON array may have {JSON_BYTES_MAX} bytes", code=USAGE, hint=hint)
    try:
        values = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CommandError(f"the file is not JSON: {error}", code=USAGE) from error
    if not isinstance(values, list):
        raise CommandError("the file is not a JSON array", code=USAGE)
    for number, value in enumerate(values, 1):
        yield _document(number, value)


def _csv_rows(file: BinaryIO, *, text_only: bool, delimiter: str) -> Iterator[Row]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    convert: Callable[[str], Any] = str if text_only else typed
    try:
        header = next(reader, [])
        if not any(header) or len(set(header)) != len(header) or "" in header:
            hint = "The first line names the columns, each once."
            raise CommandError("the file has no usable header", code=USAGE, hint=hint)
        number = 0
        for cells in reader:
            if not cells:
                continue
            number += 1
            if len(cells) != len(header):
                words = f"{len(cells)} cells under {len(header)} columns"
                yield Row(number, None, words)
                continue
            pairs = zip(header, cells, strict=True)
            yield Row(number, {name: convert(cell) for name, cell in pairs if cell != ""})
    except UnicodeDecodeError as error:
        raise CommandError("the file is not UTF-8 text", code=USAGE) from error
    except csv.Error as error:
        raise CommandError(f"the file is not CSV: {error}", code=USAGE) from error
    finally:
        text.detach()


def typed(cell: str) -> Any:
    """Return what the text of a cell means: a number, true, false, or the text."""
    if cell in _BOOLEANS:
        return _BOOLEANS[cell]
    if _INTEGER.fullmatch(cell):
        return int(cell)
    if _NUMBER.fullmatch(cell) and len(cell) < 32:
        value = float(cell)
        return value if abs(value) != float("inf") else cell
    return cell


def require_parquet() -> None:
    """Make sure that Parquet can be read and written.

    Raises:
        CommandError: The package for it is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        hint = "pip install 'aerolith[parquet]'"
        raise CommandError("Parquet needs the package pyarrow", code=USAGE, hint=hint)


def _parquet_rows(file: BinaryIO) -> Iterator[Row]:
    require_parquet()
    import pyarrow as pa  # noqa: PLC0415 - an extra
    import pyarrow.parquet as pq  # noqa: PLC0415 - an extra

    number = 0
    try:
        source = pq.ParquetFile(file)
        marked = {
            field.name
            for field in source.schema_arrow
            if (field.metadata or {}).get(JSON_MARK) == b"json"
        }
        for batch in source.iter_batches(batch_size=PARQUET_BATCH):
            for values in batch.to_pylist():
                number += 1
                yield _parquet_row(number, values, marked)
    except pa.ArrowException as error:
        raise CommandError(f"the file is not Parquet: {error}", code=USAGE) from error


def _parquet_row(number: int, values: dict[str, Any], marked: set[str]) -> Row:
    try:
        document = {
            name: msgspec.json.decode(value) if name in marked else value
            for name, value in values.items()
            if value is not None
        }
        return Row(number, msgspec.to_builtins(document))
    except (msgspec.MsgspecError, TypeError, UnicodeDecodeError) as error:
        return Row(number, None, str(error))
