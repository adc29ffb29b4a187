"""Conflicts: writes that were refused and kept, and how they are settled."""

import itertools
from typing import Annotated, Any, Final, Literal

import typer

from aerolith_cli import output
from aerolith_cli.exits import USAGE, CommandError
from aerolith_cli.inputs import read_object
from aerolith_cli.options import Collection, JsonFlag, LimitOption, examples
from aerolith_cli.session import session_of

commands = typer.Typer(no_args_is_help=True, help="Refused writes that were kept.")
ConflictId = Annotated[str, typer.Argument(metavar="CONFLICT", help="Its id.")]
_COLUMNS: Final[list[output.Column]] = [
    ("CONFLICT", lambda row: row["_id"]),
    ("DOCUMENT", lambda row: row["id"]),
    ("MINE", lambda row: row["mine"]),
    ("THEIRS", lambda row: row["theirs"]),
    ("SINCE", lambda row: row["_created"]),
]


@commands.command("list")
def list_(
    context: typer.Context,
    collection: Collection,
    *,
    limit: LimitOption = 100,
    as_json: JsonFlag = False,
) -> None:
    """List the conflicts of a collection that nobody has settled."""
    with session_of(context).documents() as client:
        rows = list(itertools.islice(client.conflicts(collection), limit))
    output.listing(rows, _COLUMNS, as_json=as_json)


@commands.command()
def show(context: typer.Context, collection: Collection, conflict: ConflictId) -> None:
    """Print a conflict with both values, as JSON."""
    with session_of(context).documents() as client:
        output.json_value(client.conflict_get(collection, conflict))


@commands.command(
    epilog=examples(
        "aerolith conflicts settle orders orders.0199... --take theirs",
        "aerolith conflicts settle orders orders.0199... --document '{\"lines\": 4}'",
    )
)
def settle(
    context: typer.Context,
    collection: Collection,
    conflict: ConflictId,
    *,
    take: Annotated[
        str | None, typer.Option(help="mine: what was refused; theirs: what is there.")
    ] = None,
    document: Annotated[
        str | None, typer.Option(metavar="JSON", help="This instead; @file reads a file.")
    ] = None,
    if_version: Annotated[
        int | None, typer.Option(min=1, help="Overwrite this version, newer than the conflict's.")
    ] = None,
) -> None:
    """Settle a conflict; print the document that is left."""
    if (take is None) == (document is None):
        raise CommandError("settle it with --take, or with --document", code=USAGE)
    value = None if document is None else read_object("--document", document)
    with session_of(context).documents() as client:
        left: dict[str, Any] | None = client.conflict_resolve(
            *(collection, conflict), take=_side(take), document=value, if_version=if_version
        )
    output.json_value(left)


def _side(text: str | None) -> Literal["mine", "theirs"] | None:
    match text:
        case "mine" | "theirs" | None:
            return text
        case _:
            raise CommandError("--take is mine or theirs", code=USAGE)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="conflicts")
