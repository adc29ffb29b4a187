"""An export: documents page by page into CSV, NDJSON, a JSON array or Parquet."""

import contextlib
import csv
import io
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from aerolith_cli.rows import JSON_MARK, PARQUET_BATCH, Format, require_parquet

type Documents = Iterable[dict[str, Any]]
type Told = Callable[[int], None]
_INT64: Final = 2**63


def without_own_fields(documents: Documents) -> Iterator[dict[str, Any]]:
    """Yield documents with their id, but without version and times."""
    for document in documents:
        yield {
            name: value
            for name, value in document.items()
            if name == "_id" or not name.startswith("_")
        }


@contextlib.contextmanager
def opened(path: Path | None) -> Iterator[BinaryIO]:
    """Give a file that takes its name when it is complete, or standard output."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    staged = path.with_name(path.name + ".part")
    with staged.open("wb") as file:
        yield file
    staged.replace(path)


def write(documents: Documents, file: BinaryIO, kind: Format, told: Told) -> int:
    """Write documents; return how many there were."""
    match kind:
        case "ndjson":
            return _write_lines(documents, file, told)
        case "json":
            return _write_array(documents, file, told)
        case "csv":
            return _write_csv(documents, file, told)
        case "parquet":
            return _write_parquet(documents, file, told)


def _write_lines(documents: Documents, file: BinaryIO, told: Told) -> int:
    count = 0
    for count, document in enumerate(documents, 1):  # noqa: B007 - returned
        file.write(msgspec.json.encode(document) + b"\n")
        told(1)
    return count


def _write_array(documents: Documents, file: BinaryIO, told: Told) -> int:
    count = 0
    for count, document in enumerate(documents, 1):
        file.write((b"[\n" if count == 1 else b",\n") + msgspec.json.encode(document))
        told(1)
    file.write(b"\n]\n" if count else b"[]\n")
    return count


# Both need to know all columns before the first row: documents wait in a file meanwhile.


def _spooled(documents: Documents, spool: BinaryIO, told: Told) -> tuple[int, dict[str, set[str]]]:
    """Write documents to a file; return how many, and what types each field has."""
    count, columns = 0, dict[str, set[str]]()
    for count, document in enumerate(documents, 1):  # noqa: B007 - returned
        for name, value in document.items():
            columns.setdefault(name, set()).add(_kind(value))
        spool.write(msgspec.json.encode(document) + b"\n")
        told(1)
    spool.seek(0)
    return count, columns


def _kind(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and not -_INT64 <= value < _INT64:
        return "json"
    names = {type(None): "null", bool: "bool", int: "int", float: "float", str: "text"}
    return names.get(type(value), "json")


def _lines_of(spool: BinaryIO) -> Iterator[dict[str, Any]]:
    for line in spool:
        yield msgspec.json.decode(line)


def _write_csv(documents: Documents, file: BinaryIO, told: Told) -> int:
    with tempfile.TemporaryFile() as spool:
        count, columns = _spooled(documents, spool, told)
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns or ["_id"])
        for document in _lines_of(spool):
            writer.writerow([_cell(document.get(name)) for name in columns])
        text.detach()
    return count


def _cell(value: Any) -> str:
    """Return a value as text; what is no text is as in JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _write_parquet(documents: Documents, file: BinaryIO, told: Told) -> int:
    require_parquet()
    import pyarrow as pa  # noqa: PLC0415 - an extra
    import pyarrow.parquet as pq  # noqa: PLC0415 - an extra

    types = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "text": pa.string()}
    with tempfile.TemporaryFile() as spool:
        count, columns = _spooled(documents, spool, told)
        kinds = {name: _column_kind(found) for name, found in columns.items()}
        schema = pa.schema(
            [
                pa.field(name, types.get(kind, pa.string()), metadata=_mark(kind))
                for name, kind in (kinds or {"_id": "text"}).items()
            ]
        )
        with pq.ParquetWriter(file, schema) as writer:
            batch: list[dict[str, Any]] = []
            for document in _lines_of(spool):
                batch.append(_fitted(document, kinds))
                if len(batch) == PARQUET_BATCH:
                    writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                    batch = []
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
    return count


def _mark(kind: str) -> dict[bytes, bytes] | None:
    """Return what tells an import that the text of a column is JSON."""
    return {JSON_MARK: b"json"} if kind == "json" else None


def _column_kind(kinds: set[str]) -> str:
    """Return the type that holds all values of a column: JSON text where no other one does."""
    found = kinds - {"null"}
    if found == {"int", "float"}:
        return "float"
    return found.pop() if len(found) == 1 else "json"


def _fitted(document: dict[str, Any], kinds: dict[str, str]) -> dict[str, Any]:
    fitted: dict[str, Any] = {}
    for name, kind in kinds.items():
        value = document.get(name)
        if value is not None and kind == "json":
            value = msgspec.json.encode(value).decode()
        elif value is not None and kind == "float":
            value = float(value)
        fitted[name] = value
    return fitted
