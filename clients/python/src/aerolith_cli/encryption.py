"""Encryption of the cluster in use: what each node says of itself, and new keys."""

from typing import Annotated, Any, Final

import typer

from aerolith_cli import output
from aerolith_cli.operations import accepted
from aerolith_cli.options import JsonFlag, WaitFlag, YesFlag, confirm, examples
from aerolith_cli.session import session_of
from dataplane.client.calls import Call
from dataplane.client.client import Client
from dataplane.client.errors import ApiError, ClusterUnreachableError

commands = typer.Typer(no_args_is_help=True, help="Encryption of what the nodes store.")
PATH: Final = "/api/v1/encryption"
_COLUMNS: Final[list[output.Column]] = [
    ("NODE", lambda row: row["node_id"]),
    ("ENCRYPTED", lambda row: row.get("enabled")),
    ("ALGORITHM", lambda row: row.get("algorithm")),
    ("KEY", lambda row: row.get("key")),
    ("CHANGE", lambda row: _progress(row.get("rotation"))),
    ("URL", lambda row: row["url"]),
    ("PROBLEM", lambda row: row.get("problem")),
]


def _progress(change: dict[str, Any] | None) -> str | None:
    if change is None:
        return None
    return f"{change['phase']}: {change['done']} of {change['total']}"


@commands.command(
    epilog=examples(
        "aerolith encryption status", "aerolith --url http://node:7001 encryption status"
    )
)
def status(context: typer.Context, *, as_json: JsonFlag = False) -> None:
    """Ask each node what it encrypts its disk with, and how far a change of keys is."""
    urls, token = session_of(context).nodes_and_key()
    rows = [{"url": url, **_asked(url, token)} for url in urls]
    if all(row["node_id"] is None for row in rows):
        refusals = [row["refusal"] for row in rows if "refusal" in row]
        raise refusals[0] if refusals else ClusterUnreachableError("no node answered")
    for row in rows:
        row.pop("refusal", None)
    output.listing(rows, _COLUMNS, as_json=as_json)


def _asked(url: str, token: str) -> dict[str, Any]:
    """Return what one node says; it is asked alone, for each knows of itself only.

    One that refuses keeps nobody from hearing what the others say.
    """
    try:
        with Client([url], token, follow=False) as client:
            found: dict[str, Any] = client.run(Call("GET", PATH, probe=True))
    except ClusterUnreachableError:
        return {"node_id": None, "problem": "does not answer"}
    except ApiError as refusal:
        return {"node_id": None, "problem": f"{refusal.code}: {refusal.detail}", "refusal": refusal}
    return found


@commands.command(
    epilog=examples(
        "aerolith encryption rotate",
        "aerolith encryption rotate --algorithm xchacha20-poly1305 --yes --no-wait",
    )
)
def rotate(
    context: typer.Context,
    *,
    algorithm: Annotated[
        str | None,
        typer.Option(help="aes-256-gcm, chacha20-poly1305, xchacha20-poly1305; else as it is."),
    ] = None,
    wait: WaitFlag = True,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Give every node a new key while the cluster serves; a plain cluster turns encrypted."""
    session = session_of(context)
    with session.portal() as portal:
        cluster = session.find_cluster(portal)
        confirm(f"Change the keys of {cluster['name']} ({cluster['encryption']})?", yes=yes)
        body = {} if algorithm is None else {"algorithm": algorithm}
        path = f"{session.place(portal, cluster)}/rotate-keys"
        answer = portal.write("POST", path, body)
        accepted(session, portal, answer, wait=wait, as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="encryption")
