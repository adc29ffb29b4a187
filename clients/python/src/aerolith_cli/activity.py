"""The activity of the organization: who did what in the portal, as a chain of hashes."""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from aerolith_cli import output
from aerolith_cli.exits import CommandError
from aerolith_cli.inputs import opened
from aerolith_cli.options import JsonFlag, LimitOption, examples
from aerolith_cli.session import Session, session_of
from dataplane.client.audit import lines_of

commands = typer.Typer(no_args_is_help=True, help="Who did what in the portal.")
_COLUMNS: Final[list[output.Column]] = [
    ("AT", lambda row: row["at"]),
    ("ACTOR", lambda row: row["actor"]["label"]),
    ("ACTION", lambda row: row["action"]),
    ("TARGET", lambda row: row["target"]["label"] or row["target"]["id"]),
    ("ADDRESS", lambda row: row["address"]),
]


@commands.command(
    "list", epilog=examples("aerolith activity list --action cluster --since 2026-11-23T10:00:00Z")
)
def list_(
    context: typer.Context,
    *,
    since: Annotated[str | None, typer.Option(help="As 2026-11-23T10:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this moment.")] = None,
    action: Annotated[
        str | None, typer.Option(help="Beginning of an action's name, as cluster.")
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Part of who did it.")] = None,
    target: Annotated[str | None, typer.Option(help="Kind of what it was done to.")] = None,
    limit: LimitOption = 50,
    as_json: JsonFlag = False,
) -> None:
    """List events, newest first."""
    filters = {"since": since, "until": until, "action": action, "actor": actor, "target": target}
    wanted = {name: value for name, value in filters.items() if value is not None}
    session = session_of(context)
    with session.portal() as portal:
        rows = list(portal.pages(f"{session.org(portal)}/audit", limit=limit, params=wanted))
    output.listing(rows, _COLUMNS, as_json=as_json)


@commands.command(epilog=examples("aerolith activity export > activity.json"))
def export(context: typer.Context) -> None:
    """Print all events, oldest first, as one JSON array with an event a line."""
    with _lines(session_of(context)) as lines:
        for line in lines:
            output.line(line.decode())


@commands.command(
    epilog=examples(
        "aerolith activity verify",
        "aerolith activity verify activity.json --known 5f2c...  # noted earlier",
    )
)
def verify(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="What `export` printed; - is the standard input.")
    ] = None,
    *,
    known: Annotated[
        str | None, typer.Option(metavar="HASH", help="Of an event that must be in it.")
    ] = None,
) -> None:
    """Hash every event again, each with the one before; exits with 1 where one does not fit.

    Nobody signs this chain: who rewrites all of it makes one that fits. Note the hash that is
    printed where the portal cannot change it, and demand it the next time with --known.
    """
    with contextlib.ExitStack() as stack:
        if file is None:
            lines: Iterable[bytes] = stack.enter_context(_lines(session_of(context)))
        else:
            lines = lines_of(stack.enter_context(opened(file)))
        count, head = _checked(lines, known)
    output.line(f"{count} events follow each other. The last has the hash {head}")


@contextlib.contextmanager
def _lines(session: Session) -> Iterator[Iterator[bytes]]:
    with (
        session.portal() as portal,
        portal.lines(f"{session.org(portal)}/audit.json") as lines,
    ):
        yield lines


def _checked(lines: Iterable[bytes], known: str | None) -> tuple[int, str]:
    count, head, has_known, is_whole = 0, "", known is None, False
    for line in lines:
        text = line.strip().rstrip(b",")
        if text in {b"", b"[", b"]"}:
            is_whole = is_whole or text == b"]"
            continue
        try:
            event = json.loads(text)
            found, claimed = _hash(event), event["hash"]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise CommandError(f"NOT PROVEN. Line {count + 2} is no event: {error}") from error
        if event["prev_hash"] != head or claimed != found:
            told = f"{event['at']} {event['action']} ({event['id']})"
            raise CommandError(f"NOT PROVEN. This event does not follow the one before: {told}")
        count, head = count + 1, found
        has_known = has_known or found == known
    if not is_whole or count == 0:
        raise CommandError("NOT PROVEN. It is cut off: an export ends with ] and holds events.")
    if not has_known:
        raise CommandError("NOT PROVEN. The event with the known hash is not in it.")
    return count, head


def _hash(event: dict[str, Any]) -> str:
    """Return the hash of an event, of which the portal's `event_hash` is the other half."""
    actor, target = event["actor"], event["target"]
    covered = {
        "event_id": event["id"],
        "at": event["at"].replace("Z", "+00:00"),
        "actor": [actor["id"] or "", actor["label"], actor["kind"]],
        "address": event["address"] or "",
        "request_id": event["request_id"],
        "action": event["action"],
        "target": [target["type"], target["id"], target["label"]],
        "before": event["before"],
        "after": event["after"],
        "prev_hash": event["prev_hash"],
    }
    text = json.dumps(covered, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="activity")
