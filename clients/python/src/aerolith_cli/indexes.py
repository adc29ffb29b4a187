"""Indexes of a collection."""

import time
from typing import Annotated, Any, Final

import typer

from aerolith_cli import output
from aerolith_cli.exits import UNSUCCESSFUL, USAGE, CommandError
from aerolith_cli.inputs import read_object
from aerolith_cli.options import Collection, JsonFlag, YesFlag, confirm, examples
from aerolith_cli.session import session_of

commands = typer.Typer(no_args_is_help=True, help="Indexes of collections.")
POLL_S: Final = 0.25
DIRECTIONS: Final = {"": 1, "asc": 1, "desc": -1}
IndexName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the index.")]
_COLUMNS: Final[list[output.Column]] = [
    ("INDEX", lambda row: row["name"]),
    ("FIELDS", lambda row: row["fields"]),
    ("STATE", lambda row: row["state"]),
    ("ENTRIES", lambda row: row["entries"]),
    ("BYTES", lambda row: row["bytes"]),
    ("UNIQUE", lambda row: row.get("unique", False)),
    ("EXPIRES AFTER", lambda row: row.get("expire_after_s")),
]


@commands.command("list")
def list_(context: typer.Context, collection: Collection, *, as_json: JsonFlag = False) -> None:
    """List the indexes of a collection, with how far they are built."""
    with session_of(context).documents() as client:
        output.listing(client.indexes(collection), _COLUMNS, as_json=as_json)


@commands.command()
def show(context: typer.Context, collection: Collection, name: IndexName) -> None:
    """Print an index, as JSON."""
    with session_of(context).documents() as client:
        output.json_value(client.index_get(collection, name))


@commands.command(
    epilog=examples(
        "aerolith indexes create flights by-route --field from --field departure:desc",
        "aerolith indexes create users by-mail --field mail --unique --sparse",
        "aerolith indexes create sessions old --field ended --expire-after-s 3600",
    )
)
def create(
    context: typer.Context,
    collection: Collection,
    name: IndexName,
    *,
    field: Annotated[
        list[str], typer.Option(help="Dotted path, falling with :desc; may be repeated, in order.")
    ],
    unique: Annotated[bool, typer.Option("--unique", help="No two with the same.")] = False,
    sparse: Annotated[bool, typer.Option("--sparse", help="Not those without it.")] = False,
    partial: Annotated[
        str | None, typer.Option(metavar="JSON", help="Only documents that fit this filter.")
    ] = None,
    expire_after_s: Annotated[
        int | None, typer.Option(min=0, help="Remove documents so long after the field's date.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until it is built.")] = True,
) -> None:
    """Make an index and wait until it is built; exits with 8 when it cannot be."""
    fields = dict(map(_parsed, field))
    fitting = None if partial is None else read_object("--partial", partial)
    with session_of(context).documents() as client, output.progress() as bars:
        found = client.index_put(
            *(collection, name, fields),
            unique=unique or None,
            sparse=sparse or None,
            partial=fitting,
            expire_after_s=expire_after_s,
        )
        task = bars.add_task(f"building {name}", total=None)
        while wait and found["state"] == "building":
            time.sleep(POLL_S)
            found = client.index_get(collection, name)
            progress: dict[str, Any] = found.get("progress") or {}
            bars.update(task, completed=progress.get("documents", 0), total=progress.get("of"))
    output.json_value(found)
    if found["state"] == "failed":
        hint = f"Mend that, then: aerolith indexes drop {collection} {name}"
        raise CommandError("the index cannot be built", code=UNSUCCESSFUL, hint=hint)


def _parsed(text: str) -> tuple[str, int]:
    path, _, direction = text.partition(":")
    if not path or direction not in DIRECTIONS:
        raise CommandError(f"{text!r} is not a path, or a path and :desc", code=USAGE)
    return path, DIRECTIONS[direction]


@commands.command()
def drop(
    context: typer.Context, collection: Collection, name: IndexName, *, yes: YesFlag = False
) -> None:
    """Drop an index."""
    with session_of(context).documents() as client:
        confirm(f"Drop the index {name} of {collection}?", yes=yes)
        client.index_drop(collection, name)
    output.note(f"dropped {name}")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="indexes")
