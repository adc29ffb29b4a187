"""Collections of a cluster."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from aerolith_cli import output
from aerolith_cli.exits import NOT_FOUND, USAGE, CommandError
from aerolith_cli.inputs import read_object
from aerolith_cli.options import Collection, JsonFlag, YesFlag, confirm, examples
from aerolith_cli.session import session_of

COLD_TIERS: Final = ("distributed", "archive")

commands = typer.Typer(no_args_is_help=True, help="Collections of the cluster in use.")


def _cold(row: Mapping[str, Any]) -> int | None:
    """Return how many documents are not whole on the disks; None where there are no tiers."""
    tiers = row.get("tiers")
    return None if tiers is None else sum(tiers[name]["documents"] for name in COLD_TIERS)


_COLUMNS: Final[list[output.Column]] = [
    ("COLLECTION", lambda row: row["name"]),
    ("DOCUMENTS", lambda row: row["documents"]),
    ("BYTES", lambda row: row["bytes"]),
    ("COLD", _cold),
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


@commands.command(
    epilog=examples(
        "aerolith collections tier events --cold-after-s 2592000",
        "aerolith collections tier events --never",
    )
)
def tier(
    context: typer.Context,
    collection: Collection,
    *,
    cold_after_s: Annotated[
        int | None,
        typer.Option(min=1, help="Unchanged so long, documents are coded over the nodes."),
    ] = None,
    archive_after_s: Annotated[
        int | None, typer.Option(min=1, help="Unchanged so long, they are in the archive.")
    ] = None,
    never: Annotated[bool, typer.Option("--never", help="They stay on the disks.")] = False,
) -> None:
    """Say when documents of a collection leave the disks; its other options stay."""
    if never != (cold_after_s is None and archive_after_s is None):
        raise CommandError("give after how many seconds, or --never", code=USAGE)
    with session_of(context).documents() as client:
        changed = client.collection_tier(
            collection, cold_after_s=cold_after_s, archive_after_s=archive_after_s
        )
    output.json_value(changed)


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
