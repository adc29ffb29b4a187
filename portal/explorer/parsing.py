"""Reading CSV, JSON and NDJSON into documents: pure, and the same rows in every attempt."""

import csv
import hashlib
import re
from collections.abc import Iterator
from io import StringIO
from itertools import islice

import msgspec

from portal.explorer.constants import (
    DOCUMENT_BYTES_MAX,
    GUESS_ROWS,
    IMPORT_COLUMNS_MAX,
    IMPORT_ROWS_MAX,
)
from portal.explorer.errors import UnreadableFile
from portal.explorer.types import (
    SYSTEM_FIELDS,
    ColumnType,
    Document,
    Format,
    Guess,
    Json,
    Recipe,
    Row,
)

# Leading zeros mean a code (a postal code, a phone number), not a number.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})", re.ASCII)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_BOOLEAN = {"true": True, "false": False}
_ID_NAMES = ("_id", "id", "uuid", "key", "code", "icao", "iata", "slug")
ID_LENGTH_MAX = 128
_ID_FORBIDDEN = re.compile(r"[/\x00-\x1f\x7f-\x9f]")
_SNIFF_CHARACTERS = 64 * 1024


def decode_text(content: bytes) -> str:
    """Decode a file by its byte order mark, or as UTF-8.

    Raises:
        UnreadableFile: It is in another encoding.
    """
    try:
        if content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
            return content.decode("utf-16")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            "The file is not UTF-8 text. Save it as UTF-8 and try again."
        ) from error


def guess(name: str, text: str) -> Guess:
    """Find out format, columns with their types, the id column, and the number of rows.

    Raises:
        UnreadableFile: There is nothing in it, or too much.
    """
    if not text.strip():
        raise UnreadableFile("There is nothing in it.")
    kind = guess_format(name, text)
    columns = guess_columns(text) if kind == "csv" else {}
    names = dict.fromkeys(columns)
    count = 0
    unique: dict[str, set[str]] = {name: set() for name in _ID_NAMES}
    for row in _raw_rows(text, kind, columns):
        count += 1
        if row.document is None:
            continue
        if kind != "csv" and count <= GUESS_ROWS:
            names.update(dict.fromkeys(row.document))
        for candidate, seen in unique.items():
            value = id_of(row.document.get(candidate))
            if value is not None:
                seen.add(value)
    if count == 0:
        raise UnreadableFile("There are no rows in it.")
    lowered = {name.lower(): name for name in names}
    id_field = next(
        (lowered[name] for name in _ID_NAMES if name in lowered and len(unique[name]) == count), ""
    )
    return Guess(format=kind, columns=columns, id_field=id_field, row_count=count)


def guess_format(name: str, text: str) -> Format:
    """Tell the format by the file's name, else by how the text begins."""
    suffix = name.lower().rpartition(".")[2]
    if suffix in {"ndjson", "jsonl"}:
        return "ndjson"
    if suffix in {"csv", "tsv"}:
        return "csv"
    start = text.lstrip()[:1]
    if start == "[":
        return "json"
    if start == "{":
        first = text.strip().split("\n", 1)
        try:
            msgspec.json.decode(first[0])
        except msgspec.DecodeError:
            return "json"
        return "ndjson" if len(first) > 1 else "json"
    return "csv"


def guess_columns(text: str) -> dict[str, ColumnType]:
    """Choose for each column the narrowest type that all of its first values have."""
    reader = _csv_reader(text)
    header = _header(reader)
    found: list[set[ColumnType]] = [set() for _ in header]
    for cells in islice(reader, GUESS_ROWS):
        for index, cell in enumerate(cells[: len(header)]):
            if cell.strip():
                found[index].add(_type_of(cell.strip()))
    return {name: _narrowest(types, name) for name, types in zip(header, found, strict=True)}


def read_rows(text: str, recipe: Recipe) -> Iterator[Row]:
    """Read all rows, numbered from 1.

    Raises:
        UnreadableFile: The file as a whole is broken or too long.
    """
    for row in _raw_rows(text, recipe.format, recipe.columns):
        yield _with_id(row, recipe)


def _raw_rows(text: str, kind: Format, columns: dict[str, ColumnType]) -> Iterator[Row]:
    """Read all rows as they are in the file."""
    if kind == "csv":
        rows = _csv_rows(text, columns)
    else:
        rows = _json_rows(text) if kind == "json" else _ndjson_rows(text)
    for row in rows:
        if row.number > IMPORT_ROWS_MAX:
            raise UnreadableFile(f"More than {IMPORT_ROWS_MAX:,} rows: split the file.")
        yield row


def id_of(value: Json) -> str | None:
    """Make a document id of a value, if one can be made."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).strip()
    if not 1 <= len(text) <= ID_LENGTH_MAX or _ID_FORBIDDEN.search(text) or text in {".", ".."}:
        return None
    return text


def row_id(digest: str, number: int) -> str:
    """Name a row without an id after the file and its place: a retry finds the same document."""
    return hashlib.sha256(f"{digest}:{number}".encode()).hexdigest()[:32]


def _with_id(row: Row, recipe: Recipe) -> Row:
    """Give a document its id and leave out what only the cluster may set."""
    if row.document is None:
        return row
    document = {name: value for name, value in row.document.items() if name not in SYSTEM_FIELDS}
    field = recipe.id_field or ("_id" if "_id" in document else "")
    if field:
        name = id_of(document.get(field))
        if name is None:
            error = f"{field!r} holds no usable id (1 to 128 characters without a slash)"
            return Row(row.number, None, error)
    else:
        name = row_id(recipe.digest, row.number)
    document["_id"] = name
    if len(msgspec.json.encode(document)) > DOCUMENT_BYTES_MAX:
        return Row(row.number, None, "the document is larger than 1 MiB")
    return Row(row.number, document)


def _csv_reader(text: str) -> Iterator[list[str]]:
    """Read CSV with the separator that the text seems to use."""
    csv.field_size_limit(DOCUMENT_BYTES_MAX)
    try:
        dialect = csv.Sniffer().sniff(text[:_SNIFF_CHARACTERS].split("\n", 1)[0], ",;\t|")
        separator = dialect.delimiter
    except csv.Error:
        separator = ","
    return iter(csv.reader(StringIO(text, newline=""), delimiter=separator))


def _header(reader: Iterator[list[str]]) -> list[str]:
    """Read the first line: the names of the columns."""
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise UnreadableFile(f"Line 1: {error}.") from error
    if not header or not all(header):
        raise UnreadableFile("The first line must name every column.")
    if len(header) > IMPORT_COLUMNS_MAX:
        raise UnreadableFile(f"More than {IMPORT_COLUMNS_MAX} columns.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UnreadableFile(f"Column names occur twice: {', '.join(twice[:5])}.")
    return header


def _csv_rows(text: str, columns: dict[str, ColumnType]) -> Iterator[Row]:
    """Read CSV: an empty cell is an absent field."""
    reader = _csv_reader(text)
    header = _header(reader)
    number = 0
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UnreadableFile(f"Row {number + 1}: {error}.") from error
        if cells is None:
            return
        if not cells:
            continue
        number += 1
        if len(cells) > len(header):
            yield Row(number, None, f"{len(cells)} cells, but {len(header)} columns")
            continue
        yield _csv_row(number, dict(zip(header, cells, strict=False)), columns)


def _csv_row(number: int, cells: dict[str, str], columns: dict[str, ColumnType]) -> Row:
    """Convert the cells of one row."""
    document: Document = {}
    for name, cell in cells.items():
        if cell == "":
            continue
        try:
            document[name] = _convert(cell, columns.get(name, "text"))
        except ValueError as error:
            return Row(number, None, f"column {name!r}: {error}")
    return Row(number, document)


def _convert(cell: str, kind: ColumnType) -> Json:
    """Convert one cell."""
    text = cell.strip()
    match kind:
        case "text":
            return cell
        case "integer":
            if not _INTEGER.fullmatch(text):
                raise ValueError(f"{text[:40]!r} is not an integer")
            return int(text)
        case "number":
            if not _NUMBER.fullmatch(text):
                raise ValueError(f"{text[:40]!r} is not a number")
            return float(text)
        case "boolean":
            if text.lower() not in _BOOLEAN:
                raise ValueError(f"{text[:40]!r} is neither true nor false")
            return _BOOLEAN[text.lower()]
        case "json":
            try:
                value: Json = msgspec.json.decode(text)
            except msgspec.DecodeError as error:
                raise ValueError(f"not JSON: {error}") from error
            return value


def _type_of(cell: str) -> ColumnType:
    """Tell the type of one cell."""
    if cell.lower() in _BOOLEAN:
        return "boolean"
    if _INTEGER.fullmatch(cell):
        return "integer"
    if _NUMBER.fullmatch(cell):
        return "number"
    if cell[0] in "[{":
        try:
            msgspec.json.decode(cell)
        except msgspec.DecodeError:
            return "text"
        return "json"
    return "text"


def _narrowest(types: set[ColumnType], name: str) -> ColumnType:
    """Choose the type that fits all cells of a column."""
    if name == "_id" or not types:
        return "text"
    if len(types) == 1:
        return next(iter(types))
    return "number" if types <= {"integer", "number"} else "text"


def _json_rows(text: str) -> Iterator[Row]:
    """Read a JSON array of objects, or a single object."""
    try:
        value: Json = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnreadableFile(f"Not valid JSON: {error}.") from error
    items = value if isinstance(value, list) else [value]
    for number, item in enumerate(items, start=1):
        yield _object_row(number, item)


def _ndjson_rows(text: str) -> Iterator[Row]:
    """Read one JSON object a line; a broken line is one broken row."""
    number = 0
    for line in text.split("\n"):
        if not line.strip():
            continue
        number += 1
        try:
            value: Json = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            yield Row(number, None, f"not valid JSON: {error}")
            continue
        yield _object_row(number, value)


def _object_row(number: int, value: Json) -> Row:
    """Take an object as a document."""
    if not isinstance(value, dict):
        return Row(number, None, "not a JSON object")
    return Row(number, value)
