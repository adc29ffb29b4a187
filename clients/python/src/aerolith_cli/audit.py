"""The audit log of the cluster in use: read, kept as a file, checked."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from aerolith_cli import output
from aerolith_cli.exits import USAGE, CommandError
from aerolith_cli.inputs import opened
from aerolith_cli.options import JsonFlag, LimitOption, examples
from aerolith_cli.session import Session, session_of
from dataplane.client.anchors import TrustAnchor, load_anchor_file
from dataplane.client.audit import lines_of, verify_audit
from dataplane.client.client import Client

commands = typer.Typer(no_args_is_help=True, help="The audit log of the cluster in use.")
PAGE_MAX: Final = 200
_COLUMNS: Final[list[output.Column]] = [
    ("RECORD", lambda row: row["index"]),
    ("AT", lambda row: row["at"]),
    ("ACTOR", lambda row: row.get("actor_name") or row["actor"]),
    ("ACTION", lambda row: row["action"]),
    ("COLLECTION", lambda row: row["collection"]),
    ("ID", lambda row: row["id"]),
    ("STATUS", lambda row: row["status"]),
]
Since = Annotated[
    str | None, typer.Option(help="As 2026-11-23T10:00:00Z; otherwise all that is kept.")
]


@commands.command(
    "list",
    epilog=examples(
        "aerolith audit list --action key --limit 20",
        "aerolith audit list --collection orders --since 2026-11-23T10:00:00Z --json",
    ),
)
def list_(
    context: typer.Context,
    *,
    since: Since = None,
    until: Annotated[str | None, typer.Option(help="Before this moment.")] = None,
    action: Annotated[
        str | None, typer.Option(help="An action, or its first part, as key.")
    ] = None,
    actor: Annotated[str | None, typer.Option(help="The id of an API key.")] = None,
    collection: Annotated[str | None, typer.Option(help="Of this collection.")] = None,
    limit: LimitOption = 50,
    as_json: JsonFlag = False,
) -> None:
    """List records, newest first.

    The portal reads them for whoever may; with a key of your own (--key-file) the nodes are asked,
    and the key needs the scope audit:read or cluster:admin.
    """
    filters = {
        "since": since,
        "until": until,
        "action": action,
        "actor": actor,
        "collection": collection,
    }
    wanted = {name: value for name, value in filters.items() if value is not None}
    session = session_of(context)
    found = _from_nodes(session, wanted) if session.has_own_key else _told(session, wanted, limit)
    output.listing(list(itertools.islice(found, limit)), _COLUMNS, as_json=as_json)


def _told(session: Session, wanted: dict[str, str], limit: int) -> Iterator[dict[str, Any]]:
    with session.portal() as portal:
        path = f"{session.place(portal)}/audit"
        yield from portal.pages(path, limit=limit, params=wanted)


def _from_nodes(session: Session, wanted: dict[str, str]) -> Iterator[dict[str, Any]]:
    after: str | None = None
    with session.documents() as client:
        while True:
            page = client.audit(**wanted, order="desc", limit=PAGE_MAX, after=after)
            yield from page["records"]
            after = page["next"]
            if after is None:
                return


@commands.command(
    epilog=examples(
        "aerolith --key-file auditor.key audit export > audit.ndjson",
        "aerolith audit verify audit.ndjson --anchor anchor.json",
    )
)
def export(context: typer.Context, *, since: Since = None) -> None:
    """Print the log, one JSON line for each record, and at last its proof.

    With --since the nodes are asked, and the key needs the scope audit:read or cluster:admin.
    """
    with _lines(session_of(context), since) as lines:
        for line in lines:
            output.line(line.decode().rstrip("\n"))


@commands.command(
    epilog=examples(
        "aerolith audit verify                                        # the whole log, now",
        "aerolith audit verify audit.ndjson --anchor anchor.json      # asks nobody",
    )
)
def verify(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="What `export` printed; - is the standard input.")
    ] = None,
    *,
    anchor: Annotated[
        Path | None, typer.Option(help="Trust anchor; otherwise the keys that are pinned.")
    ] = None,
) -> None:
    """Check the chain of records and who signed its end; exits with 1 when that proves nothing."""
    session = session_of(context)
    trusted = _trusted(session, anchor)
    if file is not None:
        with opened(file) as held:
            proven = verify_audit(lines_of(held), trusted)
    else:
        with _lines(session, None) as lines:
            proven = verify_audit(lines, trusted)
    output.line(f"PROVEN. {proven.in_words()}")


def _trusted(session: Session, anchor: Path | None) -> TrustAnchor:
    if anchor is not None:
        return load_anchor_file(anchor)
    found = None if session.urls else session.target().key.anchor
    if found is None:
        hint = "Name the trust anchor: --anchor. `aerolith anchor` prints the portal's word."
        raise CommandError("whose signatures count?", code=USAGE, hint=hint)
    return found


@contextlib.contextmanager
def _lines(session: Session, since: str | None) -> Iterator[Iterator[bytes]]:
    """Give the log with its proof: from the nodes by a key of one's own, else by the portal."""
    if session.has_own_key or since is not None:
        with session.documents() as client:
            yield _exported(client, since)
        return
    with session.portal() as portal:
        path = f"{session.place(portal)}/audit.ndjson"
        with portal.lines(path) as lines:
            yield lines


def _exported(client: Client, since: str | None) -> Iterator[bytes]:
    for part in client.audit_export(since=since):
        yield msgspec.json.encode(part) + b"\n"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="audit")
