"""Breaking nodes of a sandbox on purpose, for five minutes, and putting them back."""

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from aerolith_cli import output
from aerolith_cli.exits import NOT_FOUND, USAGE, CommandError
from aerolith_cli.operations import accepted
from aerolith_cli.options import JsonFlag, LimitOption, WaitFlag, YesFlag, confirm, examples
from aerolith_cli.portal import Portal
from aerolith_cli.session import read_secret, session_of

commands = typer.Typer(no_args_is_help=True, help="Break nodes of a sandbox on purpose.")
FAULTS: Final = (
    "crash",
    "delay",
    "drop",
    "equivocate",
    "forge_replies",
    "corrupt_document",
    "stale_reads",
    "clock_skew",
)
TOLD: Final = 15
"""So many of the last happenings are shown."""
PAGES_MAX: Final = 20
_COLUMNS: Final[list[output.Column]] = [
    ("EXPERIMENT", lambda row: row["id"]),
    ("STATUS", lambda row: row["status"]),
    ("FAULTS", lambda row: _words(row["faults"])),
    ("STARTED BY", lambda row: row["started_by"]),
    ("CREATED", lambda row: row["created"]),
]
_EVENTS: Final[list[output.Column]] = [
    ("AT", lambda row: row["at"]),
    ("NODE", lambda row: row.get("node")),
    ("WHAT", lambda row: row["kind"]),
    ("OF NODE", lambda row: row.get("about")),
    ("FACTS", lambda row: row.get("facts")),
]


def _words(faults: list[dict[str, Any]]) -> str:
    return ", ".join(f"{fault['node']}={fault['behaviour']}" for fault in faults)


def _completed(incomplete: str) -> list[str]:
    """Complete NODE=FAULT once the node is typed."""
    node, equals, begun = incomplete.partition("=")
    return [f"{node}={fault}" for fault in FAULTS if equals and fault.startswith(begun)]


def _parsed(text: str) -> dict[str, Any]:
    node, _, behaviour = text.partition("=")
    if not (node.isascii() and node.isdigit()) or behaviour not in FAULTS:
        hint = f"As 2=crash; the faults are {', '.join(FAULTS)}."
        raise CommandError(f"{text!r} is not NODE=FAULT", code=USAGE, hint=hint)
    return {"node": int(node), "behaviour": behaviour}


def _password(file: Path | None) -> str:
    if file is not None:
        return read_secret(file)
    if not sys.stdin.isatty():
        hint = "--password-file names a file with it; - is the standard input."
        raise CommandError("the password of your account is needed", code=USAGE, hint=hint)
    answer: str = typer.prompt("Password of your account", hide_input=True, err=True)
    return answer


@commands.command(
    epilog=examples(
        "aerolith --cluster sand chaos start 2=crash",
        "aerolith --cluster sand chaos start 1=drop 2=delay --beyond-f --yes --password-file pw",
    )
)
def start(
    context: typer.Context,
    faults: Annotated[
        list[str],
        typer.Argument(metavar="NODE=FAULT...", help="As 2=crash.", autocompletion=_completed),
    ],
    *,
    beyond_f: Annotated[
        bool, typer.Option("--beyond-f", help="More than may fail: nothing is promised then.")
    ] = False,
    password_file: Annotated[
        Path | None, typer.Option(help="Holds your password; otherwise it is asked for.")
    ] = None,
    wait: WaitFlag = True,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Break nodes for five minutes; they are put back by themselves."""
    session, wanted = session_of(context), [_parsed(text) for text in faults]
    with session.portal() as portal:
        cluster = session.find_cluster(portal)
        confirm(f"Break {_words(wanted)} of {cluster['name']}?", yes=yes)
        body = {
            "faults": wanted,
            "beyond_f": beyond_f,
            "confirm": cluster["name"],
            "password": _password(password_file),
        }
        answer = portal.write("POST", f"{session.place(portal, cluster)}/chaos", body)
        accepted(session, portal, answer, wait=wait, as_json=as_json)


@commands.command()
def stop(
    context: typer.Context,
    experiment: Annotated[
        str | None, typer.Argument(help="Its id; otherwise the one under way.")
    ] = None,
    *,
    wait: WaitFlag = True,
    as_json: JsonFlag = False,
) -> None:
    """Put every node back now."""
    session = session_of(context)
    with session.portal() as portal:
        place = f"{session.place(portal)}/chaos"
        found = _one(portal, place, experiment)
        answer = portal.write("POST", f"{place}/{found['id']}/revert")
        accepted(session, portal, answer, wait=wait, as_json=as_json)


@commands.command()
def status(
    context: typer.Context,
    experiment: Annotated[str | None, typer.Argument(help="Its id; otherwise the last.")] = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show an experiment: what is broken, until when, what the others did about it."""
    session = session_of(context)
    with session.portal() as portal:
        place = f"{session.place(portal)}/chaos"
        found = _one(portal, place, experiment)
        records = _records(portal, f"{place}/{found['id']}/timeline")
    if as_json:
        output.json_value({**found, "timeline": records})
        return
    names = ("id", "status", "beyond_f", "started_by", "created", "ends", "reverted", "over")
    output.facts(
        [
            ("faults", _words(found["faults"])),
            *((name.replace("_", " "), found[name]) for name in names),
            *((name.replace("_", " "), value) for name, value in found["outcome"].items()),
        ]
    )
    output.line("")
    output.table([row for row in records if row["kind"] != "sample"][-TOLD:], _EVENTS)


@commands.command("list")
def list_(context: typer.Context, *, limit: LimitOption = 20, as_json: JsonFlag = False) -> None:
    """List experiments of the cluster, newest first."""
    session = session_of(context)
    with session.portal() as portal:
        place = f"{session.place(portal)}/chaos"
        rows = list(portal.pages(place, limit=limit))
    output.listing(rows, _COLUMNS, as_json=as_json)


@commands.command(epilog=examples("aerolith --cluster sand chaos sandbox --on"))
def sandbox(
    context: typer.Context,
    *,
    on: Annotated[bool, typer.Option("--on/--off", help="Whether it may be broken.")],
    yes: YesFlag = False,
) -> None:
    """Say that a cluster may be broken on purpose, or that it may not."""
    session = session_of(context)
    with session.portal() as portal:
        cluster = session.find_cluster(portal)
        if on:
            confirm(f"Let {cluster['name']} be broken on purpose?", yes=yes)
        path = f"{session.place(portal, cluster)}/sandbox"
        portal.write("PUT", path, {"sandbox": on})
    output.note(f"{cluster['name']} is {'a' if on else 'no'} sandbox")


def _one(portal: Portal, place: str, experiment: str | None) -> dict[str, Any]:
    if experiment is not None:
        found: dict[str, Any] = portal.get(f"{place}/{experiment}")
        return found
    for row in portal.pages(place, limit=1):
        return row
    raise CommandError("nothing was broken on purpose so far", code=NOT_FOUND)


def _records(portal: Portal, path: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    after = 0
    for _ in range(PAGES_MAX):
        page = portal.get(path, {"after": str(after)})
        records += page["results"]
        if page["next"] is None:
            break
        after = page["next"]
    return records


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="chaos")
