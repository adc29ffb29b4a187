"""Collections of a cluster."""

from typing import Annotated, Any, Final

import typer

from aerolith_cli import output
from aerolith_cli.exits import NOT_FOUND, CommandError
from aerolith_cli.inputs import read_object
from aerolith_cli.options import Collection, JsonFlag, YesFlag, confirm, examples
from aerolith_cli.session import session_of

commands = typer.Typer(no_args_is_help=True, help="Collections of the cluster in use.")
_COLUMNS: Final[list[output.Column]] = [
    ("COLLECTION", lambda row: row["name"]),
    ("DOCUMENTS", lambda row: row["documents"]),
    ("BYTES", lambda row: row["bytes"]),
]


@commands.command("list")
def list_(context: typer.Context, *, as_json: JsonFlag = False) -> None:
    """List the collections that the key covers."""
    with session_of(context).documents() as client:
        output.listing(client.collections(), _COLUMNS, as_json=as_json)


@commands.command()
def show(context: typer.Context, collection: Collection) -> None:
    """Print what is known of a collection, as JSON."""
    with session_of(context).documents() as client:
        found = [row for row in client.collections() if row["name"] == collection]
    if not found:
        raise CommandError(f"there is no collection {collection!r}", code=NOT_FOUND)
    output.json_value(found[0])


@commands.command(
    epilog=examples('aerolith collections create orders --options \'{"conflict_policy": "lww"}\'')
)
def create(
    context: typer.Context,
    collection: Collection,
    *,
    options: Annotated[
        str, typer.Option(metavar="JSON", help="Its options; @file reads a file.")
    ] = "{}",
) -> None:
    """Create a collection, or change its options. A first write creates one too."""
    body = read_object("--options", options)
    with session_of(context).documents() as client:
        output.json_value(client.collection_put(collection, body))


@commands.command()
def drop(context: typer.Context, collection: Collection, *, yes: YesFlag = False) -> None:
    """Drop a collection and all it holds."""
    with session_of(context).documents() as client:
        found: list[dict[str, Any]] = client.collections()
        count = next((row["documents"] for row in found if row["name"] == collection), 0)
        confirm(f"Drop {collection} with {count} documents?", yes=yes)
        client.collection_drop(collection)
    output.note(f"dropped {collection}")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="collections")
