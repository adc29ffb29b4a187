"""Import and export of whole collections."""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer
from blake3 import blake3

from aerolith_cli import exits, exporting, output
from aerolith_cli.exits import USAGE, CommandError, explained
from aerolith_cli.importing import Importer, Recipe, Report, file_identity, note_path
from aerolith_cli.inputs import read_object
from aerolith_cli.options import Collection, Consistency, examples
from aerolith_cli.rows import FORMATS, Format, format_of, read_rows
from aerolith_cli.session import session_of
from dataplane.client.client import Client
from dataplane.client.errors import ClientError

EXPORT_PAGE: Final = 500
FormatOption = Annotated[
    str | None,
    typer.Option("--format", help=f"{', '.join(FORMATS)}; otherwise by the file's name."),
]


def import_(
    context: typer.Context,
    collection: Collection,
    file: Annotated[Path, typer.Argument(help="What to import; - reads standard input.")],
    *,
    kind: FormatOption = None,
    id_field: Annotated[
        str | None, typer.Option(help="Its value becomes the id; otherwise _id, or a made one.")
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="CSV: take numbers as text.")] = False,
    keep_existing: Annotated[
        bool, typer.Option("--keep-existing", help="Do not replace documents that are there.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="From the first row, also after an interruption.")
    ] = False,
) -> None:
    """Store every row of a file as a document.

    An import that was interrupted goes on where it stopped when you repeat the command, and no row
    is stored twice. Rows that are refused are written to FILE.refused.ndjson, and the command then
    exits with 9.
    """
    from_input = str(file) == "-"
    wanted = format_of(None if from_input else file, kind)
    recipe = Recipe(collection, id_field, keep_existing)
    session = session_of(context)
    with session.documents_of() as (client, place), _source(file, wanted) as source:
        importer = _importer(client, recipe, file, place, restart=restart)
        is_tabs = file.suffix.lower() == ".tsv"
        rows = read_rows(source, wanted, text_only=text, is_tabs=is_tabs)
        with output.progress() as bars:
            task = bars.add_task(f"importing into {collection}", total=None)
            try:
                for done in importer.run(rows):
                    bars.update(task, completed=done)
            except ClientError as error:
                told = explained(error)
                if not from_input:
                    told.hint = (
                        f"{told.hint} The same command goes on from where it stopped.".strip()
                    )
                raise told from error
    _tell(importer.report, file)


def _importer(client: Client, recipe: Recipe, file: Path, place: str, *, restart: bool) -> Importer:
    if str(file) == "-":
        rejects = Path("import.refused.ndjson")
        identity = secrets.token_hex(16)
        return Importer(client, recipe, identity=identity, note_path=None, rejects=rejects)
    with output.progress() as bars:
        task = bars.add_task(f"reading {file.name}", total=file.stat().st_size)
        content = file_identity(file, lambda count: bars.advance(task, count))
    note = note_path(blake3(f"{content}/{recipe}/{place}".encode()).hexdigest())
    if restart:
        note.unlink(missing_ok=True)
    rejects = file.with_name(file.name + ".refused.ndjson")
    return Importer(client, recipe, identity=content, note_path=note, rejects=rejects)


def _tell(report: Report, file: Path) -> None:
    parts = [f"{report.stored} stored"]
    if report.skipped:
        parts.append(f"{report.skipped} were there already")
    if report.resumed_at:
        parts.append(f"{report.resumed_at} rows were done before")
    output.note(", ".join(parts))
    if not report.refused:
        return
    for line in report.shown:
        output.note(line)
    name = "import.refused.ndjson" if str(file) == "-" else f"{file}.refused.ndjson"
    hint = f"They are in {name}: mend them and import that."
    words = f"{report.refused} rows were refused"
    raise CommandError(words, code=exits.PARTLY, hint=hint)


@contextlib.contextmanager
def _source(file: Path, kind: Format) -> Iterator[BinaryIO]:
    if str(file) == "-" and kind == "parquet":
        raise CommandError("Parquet is read from a file, not from standard input", code=USAGE)
    try:
        with open(0 if str(file) == "-" else file, "rb", closefd=str(file) != "-") as opened:
            yield opened
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}", code=USAGE) from error


def export(
    context: typer.Context,
    collection: Collection,
    file: Annotated[
        Path | None, typer.Argument(help="Where to; otherwise to standard output.")
    ] = None,
    *,
    kind: FormatOption = None,
    wanted: Annotated[str, typer.Option("--filter", "-f", metavar="JSON")] = "{}",
    fields: Annotated[str, typer.Option(help="Only these, separated by commas.")] = "",
    with_versions: Annotated[
        bool, typer.Option("--with-versions", help="Also _version, _created and _updated.")
    ] = False,
    consistency: Consistency = None,
) -> None:
    """Write the documents of a collection to a file, in the order of their ids.

    The file takes its name when it is complete. Pages are read one after another: what changes
    meanwhile may be in it or not. In CSV and Parquet, what is no plain value is JSON in a cell.
    """
    target = None if file is None or str(file) == "-" else file
    how = format_of(target, kind or ("ndjson" if target is None else None))
    options = {
        "filter": read_object("--filter", wanted),
        "projection": [name.strip() for name in fields.split(",")] if fields else None,
        "consistency": consistency,
        "limit": EXPORT_PAGE,
    }
    with session_of(context).documents() as client, output.progress() as bars:
        task = bars.add_task(f"exporting {collection}", total=None)
        documents = client.iterate(collection, **options)
        found = documents if with_versions else exporting.without_own_fields(documents)
        with exporting.opened(target) as out:
            count = exporting.write(found, out, how, lambda more: bars.advance(task, more))
    output.note(f"{count} exported")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "import",
        epilog=examples(
            "aerolith import airports airports.csv --id-field code",
            "aerolith import events events.ndjson --keep-existing",
            "zcat events.gz | aerolith import events - --format ndjson",
        ),
    )(import_)
    app.command(
        epilog=examples(
            "aerolith export airports airports.parquet",
            'aerolith export airports --filter \'{"country": "SE"}\' | jq .city',
        )
    )(export)
