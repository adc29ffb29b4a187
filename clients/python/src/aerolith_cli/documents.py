"""Documents: read, write, ask; straight to the nodes of the cluster."""

import itertools
import sys
from typing import Annotated, Any

import typer

from aerolith_cli import output
from aerolith_cli.inputs import read_object, read_objects
from aerolith_cli.options import (
    Collection,
    Consistency,
    DocumentId,
    IfVersion,
    JsonFlag,
    examples,
)
from aerolith_cli.session import session_of

PAGE_MAX = 500
HISTORY_PAGE_MAX = 100
HISTORY_COLUMNS: list[output.Column] = [
    ("PLACE", lambda row: row["place"]),
    ("TIME", lambda row: row["time"]),
    ("OPERATION", lambda row: row["operation"]),
    ("VERSION", lambda row: row["version"]),
    ("BY", lambda row: row["actor"]),
    ("CHANGED", lambda row: " ".join(field["pointer"] for field in row["changed"] or ())),
]
Body = Annotated[
    str, typer.Argument(metavar="JSON", help="A JSON object; @file reads a file, - the input.")
]
Named = Annotated[
    str | None,
    typer.Option("--idempotency-key", help="A repetition under the same key changes nothing."),
]


def get(
    context: typer.Context,
    collection: Collection,
    document: DocumentId,
    *,
    consistency: Consistency = None,
    proof: Annotated[bool, typer.Option("--proof", help="With a proof, for `verify`.")] = False,
) -> None:
    """Print a document. With --proof, a key that this program made also checks the proof."""
    with session_of(context).documents() as client:
        found = client.get(collection, document, consistency=consistency, proof=proof)
    output.json_value(found)


def put(
    context: typer.Context,
    collection: Collection,
    document: DocumentId,
    body: Body,
    *,
    if_version: IfVersion = None,
    absent: Annotated[bool, typer.Option("--absent", help="Only if there is none.")] = False,
    key: Named = None,
) -> None:
    """Create or replace a document; print it as it is now."""
    value = read_object("the document", body)
    with session_of(context).documents() as client:
        stored = client.put(
            *(collection, document, value),
            if_match=if_version,
            absent=absent,
            idempotency_key=key,
        )
    output.json_value(stored)


def patch(
    context: typer.Context,
    collection: Collection,
    document: DocumentId,
    body: Body,
    *,
    if_version: IfVersion = None,
    operators: Annotated[
        bool, typer.Option("--operators", help='JSON is operators: {"$inc": {"n": 1}}.')
    ] = False,
    key: Named = None,
) -> None:
    """Merge a change into a document, or apply update operators; print it as it is now."""
    value = read_object("the change", body)
    with session_of(context).documents() as client:
        stored = client.patch(
            *(collection, document, value),
            if_match=if_version,
            operators=operators,
            idempotency_key=key,
        )
    output.json_value(stored)


def delete(
    context: typer.Context,
    collection: Collection,
    document: DocumentId,
    *,
    if_version: IfVersion = None,
    key: Named = None,
) -> None:
    """Delete a document."""
    with session_of(context).documents() as client:
        client.delete(collection, document, if_match=if_version, idempotency_key=key)


def history(
    context: typer.Context,
    collection: Collection,
    document: DocumentId,
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many versions.")] = 20,
    brief: Annotated[bool, typer.Option("--brief", help="Without the documents.")] = False,
    as_table: Annotated[bool, typer.Option("--table", help="As a table.")] = False,
) -> None:
    """Print recent versions of a document, newest first, one JSON line each.

    A node keeps changes for a day, and a bounded amount: what is older is not known any more.
    Beside the versions it is said where the history begins, and why there.
    """
    rows: list[dict[str, Any]] = []
    page: dict[str, Any] = {"next": None, "begins": None}
    with session_of(context).documents() as client:
        while len(rows) < limit:
            page = client.history_page(
                *(collection, document),
                before=page["next"],
                limit=min(limit - len(rows), HISTORY_PAGE_MAX),
                documents=not (brief or as_table),
            )
            rows += page["versions"]
            if page["next"] is None:
                break
    if as_table:
        output.table(rows, HISTORY_COLUMNS)
    else:
        for row in rows:
            output.json_line(row)
    if page["begins"] is not None:
        output.note(f"Since sequence {page['begins']['sequence']}: {page['begins']['detail']}.")
    else:
        output.note("There are older versions: --limit shows more.")


def query(
    context: typer.Context,
    collection: Collection,
    *,
    wanted: Annotated[str, typer.Option("--filter", "-f", metavar="JSON")] = "{}",
    sort: Annotated[str, typer.Option(metavar="JSON", help='As {"name": 1, "age": -1}.')] = "{}",
    fields: Annotated[str, typer.Option(help="Only these, separated by commas.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0: all.")] = 20,
    consistency: Consistency = None,
    explain: Annotated[bool, typer.Option("--explain", help="How it would be found.")] = False,
    as_table: Annotated[bool, typer.Option("--table", help="As a table.")] = False,
) -> None:
    """Print the documents that fit, one JSON line each."""
    options: dict[str, Any] = {
        "filter": read_object("--filter", wanted),
        "sort": read_object("--sort", sort) or None,
        "projection": [name.strip() for name in fields.split(",")] if fields else None,
        "limit": min(limit, PAGE_MAX) or PAGE_MAX,
        "consistency": consistency,
    }
    with session_of(context).documents() as client:
        if explain:
            output.json_value(client.query(collection, **options, explain=True)["plan"])
            return
        found = itertools.islice(client.iterate(collection, **options), limit or None)
        if not as_table:
            for document in found:
                output.json_line(document)
            return
        rows = list(found)
    names = list(dict.fromkeys(name for row in rows for name in row))
    shown = [name for name in names if name == "_id" or not name.startswith("_")]
    output.table(rows, [(name, _reader(name)) for name in shown])


def _reader(name: str) -> Any:
    return lambda row: row.get(name)


def aggregate(
    context: typer.Context,
    collection: Collection,
    pipeline: Annotated[
        str, typer.Argument(metavar="JSON", help="Stages; @file reads a file, - the input.")
    ],
    *,
    consistency: Consistency = None,
) -> None:
    """Run a pipeline; print its documents, one JSON line each."""
    stages = read_objects("the pipeline", pipeline)
    with session_of(context).documents() as client:
        answer = client.aggregate(collection, stages, consistency=consistency)
    for document in answer["documents"]:
        output.json_line(document)


def transact(
    context: typer.Context,
    operations: Annotated[
        str, typer.Argument(metavar="JSON", help="A list; @file reads a file, - the input.")
    ],
    *,
    key: Named = None,
) -> None:
    """Do operations on documents of any collections: all of them, or none."""
    wanted = read_objects("the operations", operations)
    with session_of(context).documents() as client:
        output.json_value(client.transact(wanted, idempotency_key=key))


def watch(
    context: typer.Context,
    collection: Annotated[list[str] | None, typer.Argument(help="Only these.")] = None,
    *,
    after: Annotated[
        str | None, typer.Option(help="Begin behind this place; 0 is the beginning; else now.")
    ] = None,
    wanted: Annotated[str | None, typer.Option("--filter", "-f", metavar="JSON")] = None,
    brief: Annotated[bool, typer.Option("--brief", help="Without the documents.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="End after so many; 0: never.")] = 0,
) -> None:
    """Print changes as they are executed, one JSON line each, until you interrupt it.

    Each has a `place`: --after goes on behind it. When a node falls away, another one goes on.
    """
    fitting = None if wanted is None else read_object("--filter", wanted)
    with session_of(context).documents() as client:
        feed = client.changes(
            after=after, collections=collection or (), filter=fitting, documents=not brief
        )
        for change in itertools.islice(feed, limit or None):
            output.json_line(change)
            sys.stdout.flush()


def status(context: typer.Context, *, as_json: JsonFlag = False) -> None:
    """Show the nodes of the cluster as one of them sees the others."""
    with session_of(context).documents() as client:
        nodes, stats = client.nodes(), client.stats()
    if as_json:
        output.json_value({"nodes": nodes, "stats": stats})
        return
    shown = ("epoch", "view", "primary", "sequence", "f", "quorum")
    output.facts(
        [
            *((name, nodes[name]) for name in shown),
            *((name, stats[name]) for name in ("documents", "collections", "version")),
        ]
    )
    output.line("")
    columns: list[output.Column] = [
        ("NODE", lambda row: row["id"]),
        ("ROLE", lambda row: row["role"]),
        ("REACHABLE", lambda row: row["reachable"]),
        ("SEQUENCE", lambda row: row["sequence"]),
        ("LAG", lambda row: row["lag"]),
        ("ADDRESS", lambda row: row["address"]),
    ]
    output.table(nodes["nodes"], columns)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=examples("aerolith get orders o-17", "aerolith get orders o-17 --proof"))(
        get
    )
    app.command(
        epilog=examples(
            "aerolith put orders o-17 '{\"lines\": 3}'",
            "aerolith put orders o-17 @order.json --if-version 2",
        )
    )(put)
    app.command(
        epilog=examples(
            "aerolith patch orders o-17 '{\"paid\": true}'",
            'aerolith patch stock bolts \'{"$inc": {"count": -3}}\' --operators',
        )
    )(patch)
    app.command()(delete)
    app.command(
        epilog=examples(
            "aerolith history orders o-17 --table", "aerolith history orders o-17 --limit 1"
        )
    )(history)
    app.command(
        epilog=examples(
            'aerolith query airports --filter \'{"runways": {"$gte": 2}}\' --sort \'{"city": 1}\'',
            "aerolith query airports --limit 0 > airports.ndjson",
            "aerolith query airports --fields city,runways --table",
        )
    )(query)
    app.command(
        epilog=examples(
            'aerolith aggregate airports \'[{"$group": {"_id": "$country", "n": {"$sum": 1}}}]\''
        )
    )(aggregate)
    app.command(epilog=examples("aerolith transact @transfer.json --idempotency-key t-17"))(
        transact
    )
    app.command(
        epilog=examples(
            "aerolith watch orders", "aerolith watch orders --after 0 --filter '{\"paid\": true}'"
        )
    )(watch)
    app.command()(status)
