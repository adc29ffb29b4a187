"""Backups: those that the portal keeps, and files of one's own that prove themselves."""

import contextlib
import importlib.util
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import typer

from aerolith_cli import output
from aerolith_cli.exits import UNSUCCESSFUL, USAGE, CommandError
from aerolith_cli.operations import accepted
from aerolith_cli.options import (
    AnchorFile,
    JsonFlag,
    LimitOption,
    WaitFlag,
    YesFlag,
    confirm,
    days_from_now,
    examples,
)
from aerolith_cli.session import Session, session_of
from dataplane.client.anchors import TrustAnchor, load_anchor_file
from dataplane.client.client import Client

commands = typer.Typer(no_args_is_help=True, help="Backups that prove themselves.")
POLL_S: Final = 0.5
TIMEOUT_S: Final = 60.0
OVER: Final = frozenset({"stored", "failed"})
_COLUMNS: Final[list[output.Column]] = [
    ("BACKUP", lambda row: row["id"]),
    ("STATUS", lambda row: row["status"]),
    ("KIND", lambda row: row["kind"]),
    ("STATE OF", lambda row: row["state_time"]),
    ("SEQUENCE", lambda row: row["sequence"]),
    ("ROWS", lambda row: row["rows"]),
    ("BYTES", lambda row: row["size_bytes"]),
    ("KEPT UNTIL", lambda row: row["keep_until"]),
]
BackupId = Annotated[str, typer.Argument(metavar="BACKUP", help="Its id.")]
KeptId = Annotated[
    str | None, typer.Argument(metavar="BACKUP", help="Its id, or name a moment below.")
]
ToSequence = Annotated[int | None, typer.Option(min=1, help="The state after this sequence.")]
ToTime = Annotated[
    str | None, typer.Option(help="The state after the last batch of this time (RFC 3339).")
]
BeforeEvent = Annotated[
    int | None, typer.Option(min=1, help="The state before this record of the audit log.")
]
_CHANGES: Final[list[output.Column]] = [
    ("COLLECTION", lambda row: row["collection"]),
    ("NOW", lambda row: row["now"]),
    ("THEN", lambda row: row["then"]),
    ("ADDED", lambda row: row["added"]),
    ("CHANGED", lambda row: row["changed"]),
    ("REMOVED", lambda row: row["removed"]),
]
Files = Annotated[
    list[Path],
    typer.Argument(help="The backup; before an incremental one those it builds on, oldest first."),
]


# --- Those that the portal keeps --------------------------------------------------------------


@commands.command("list")
def list_(context: typer.Context, *, limit: LimitOption = 50, as_json: JsonFlag = False) -> None:
    """List the backups of the cluster in use, newest first."""
    session = session_of(context)
    with session.portal() as portal:
        rows = list(portal.pages(f"{session.place(portal)}/backups", limit=limit))
    output.listing(rows, _COLUMNS, as_json=as_json)


@commands.command(
    epilog=examples('aerolith backups create --note "before the move" --keep-days 90')
)
def create(
    context: typer.Context,
    *,
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
    keep_days: Annotated[
        int | None, typer.Option(min=1, help="Keep it so long, whatever the policy says.")
    ] = None,
    wait: WaitFlag = True,
    as_json: JsonFlag = False,
) -> None:
    """Have the portal take a backup now, and check it."""
    session = session_of(context)
    with session.portal() as portal:
        place = f"{session.place(portal)}/backups"
        found = portal.write("POST", place, {"note": note, "keep_days": keep_days})
        while wait and found["status"] not in OVER:
            time.sleep(POLL_S)
            found = portal.get(f"{place}/{found['id']}")
    if found["status"] == "failed":
        raise CommandError(f"the backup failed: {found['problem']}", code=UNSUCCESSFUL)
    if as_json:
        output.json_value(found)
    else:
        output.line(found["id"])


@commands.command()
def delete(context: typer.Context, backup: BackupId, *, yes: YesFlag = False) -> None:
    """Delete a backup that the portal keeps."""
    session = session_of(context)
    with session.portal() as portal:
        place = session.place(portal)
        confirm(f"Delete the backup {backup}?", yes=yes)
        portal.write("DELETE", f"{place}/backups/{backup}")
    output.note(f"deleted {backup}")


@commands.command(
    epilog=examples(
        "aerolith backups restore 0199...-... --new shop-of-yesterday",
        "aerolith --cluster shop backups restore 0199...-... --in-place",
        "aerolith backups restore --to-sequence 41817 --branch shop-try --days 7",
        "aerolith backups restore --before-event 833 --branch before-the-drop",
    )
)
def restore(
    context: typer.Context,
    backup: KeptId = None,
    *,
    to_sequence: ToSequence = None,
    to_time: ToTime = None,
    before_event: BeforeEvent = None,
    new: Annotated[str | None, typer.Option(help="Into a new cluster of this name.")] = None,
    branch: Annotated[str | None, typer.Option(help="Into a branch of this name.")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=365, help="After so many days the branch ends.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, max=31, help="Of the new cluster.")] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Replace what the cluster holds now.")
    ] = False,
    wait: WaitFlag = True,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Restore a state that the portal keeps: into a new cluster or a branch, or in place."""
    point = _point(backup, to_sequence, to_time, before_event)
    if [new is not None, branch is not None, in_place].count(True) != 1:
        words = "restore it with --new NAME, or --branch NAME, or --in-place"
        raise CommandError(words, code=USAGE)
    if days is not None and branch is None:
        raise CommandError("only a branch ends by itself: --branch NAME", code=USAGE)
    session = session_of(context)
    with session.portal() as portal:
        cluster = session.find_cluster(portal)
        body: dict[str, Any] = {**point, "where": "new", "name": new, "nodes": nodes}
        if branch is not None:
            ends = None if days is None else days_from_now(days)
            body |= {"where": "branch", "name": branch, "expires": ends}
        if in_place:
            confirm(f"Replace all that {cluster['name']} holds now?", yes=yes)
            body = {**point, "where": "in_place", "confirm": cluster["name"]}
        path = f"{session.place(portal, cluster)}/restore"
        accepted(session, portal, portal.write("POST", path, body), wait=wait, as_json=as_json)


@commands.command(epilog=examples("aerolith backups preview --before-event 833"))
def preview(
    context: typer.Context,
    backup: KeptId = None,
    *,
    to_sequence: ToSequence = None,
    to_time: ToTime = None,
    before_event: BeforeEvent = None,
    as_json: JsonFlag = False,
) -> None:
    """Count which documents a restore in place would add, change and remove."""
    point = _point(backup, to_sequence, to_time, before_event)
    session = session_of(context)
    with session.portal() as portal:
        place = f"{session.place(portal)}/restore/preview"
        found = portal.write("POST", place, point)
        while found["status"] == "running":
            time.sleep(POLL_S)
            found = portal.get(f"{place}/{found['id']}")
    if found["status"] == "failed":
        raise CommandError(f"the comparison failed: {found['problem']}", code=UNSUCCESSFUL)
    if as_json:
        output.json_value(found)
        return
    output.note(f"sequence {found['sequence']} against now, sequence {found['now_sequence']}")
    output.table(found["collections"], _CHANGES)


def _point(
    backup: str | None, to_sequence: int | None, to_time: str | None, before_event: int | None
) -> dict[str, Any]:
    """Return the one state that is named."""
    point = {
        "backup": backup,
        "to_sequence": to_sequence,
        "to_time": to_time,
        "before_audit_event": before_event,
    }
    named = {name: value for name, value in point.items() if value is not None}
    if len(named) != 1:
        words = "name a BACKUP, or --to-sequence, or --to-time, or --before-event"
        raise CommandError(words, code=USAGE)
    return named


# --- Files of one's own -----------------------------------------------------------------------


def _require_zstandard() -> None:
    if importlib.util.find_spec("zstandard") is None:
        hint = "pip install 'aerolith[backup]'"
        raise CommandError("backups need the package zstandard", code=USAGE, hint=hint)


def _opened(stack: contextlib.ExitStack, paths: Sequence[Path]) -> list[BinaryIO]:
    try:
        return [stack.enter_context(path.open("rb")) for path in paths]
    except OSError as error:
        raise CommandError(f"cannot read a backup: {error}", code=USAGE) from error


def _trusted(session: Session, anchor: Path | None) -> TrustAnchor:
    """Return the anchor of a file, or the one that was pinned when the key was made."""
    if anchor is not None:
        return load_anchor_file(anchor)
    found = None if session.urls else session.target().key.anchor
    if found is None:
        hint = "Name the trust anchor: --anchor. `aerolith anchor` prints the portal's word."
        raise CommandError("whose signatures count?", code=USAGE, hint=hint)
    return found


@commands.command(
    epilog=examples(
        "aerolith --key-file admin.key backups take monday.aero",
        "aerolith --key-file admin.key backups take tuesday.aero --since monday.aero",
    )
)
def take(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    *,
    anchor: Annotated[Path | None, typer.Option(help="The cluster's trust anchor.")] = None,
    since: Annotated[
        list[Path] | None,
        typer.Option(help="An earlier backup: fetch what changed; may be repeated, oldest first."),
    ] = None,
) -> None:
    """Write the state of now to a file, straight from the nodes, checked against the anchor.

    The key needs the scope cluster:admin.
    """
    _require_zstandard()
    from dataplane.client.backups import verify_backup  # noqa: PLC0415 - an extra
    from dataplane.client.taking import take_backup  # noqa: PLC0415 - an extra

    session = session_of(context)
    trusted, known = _trusted(session, anchor), b""
    if since:
        with contextlib.ExitStack() as stack:
            known = verify_backup(_opened(stack, since), trusted).contents.known
    urls, token = session.nodes_and_key()
    output.line(take_backup(urls, token, trusted, file, known=known).in_words())


@commands.command(epilog=examples("aerolith backups verify monday.aero --anchor anchor.json"))
def verify(file: Files, *, anchor: AnchorFile) -> None:
    """Check a backup without any connection; exits with 1 when it proves nothing."""
    _require_zstandard()
    from dataplane.client.backups import verify_backup  # noqa: PLC0415 - an extra

    with contextlib.ExitStack() as stack:
        proven = verify_backup(_opened(stack, file), load_anchor_file(anchor))
    output.line(f"PROVEN. {proven.in_words()}")


@commands.command(
    epilog=examples("aerolith --key-file admin.key backups load monday.aero --anchor anchor.json")
)
def load(
    context: typer.Context,
    file: Files,
    *,
    anchor: Annotated[Path, typer.Option(help="Trust anchor of the cluster it is of.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Clear away what the cluster holds.")
    ] = False,
    restore_id: Annotated[
        str | None, typer.Option("--id", help="Of one that was interrupted: it goes on.")
    ] = None,
) -> None:
    """Fill the cluster in use with the content of a backup. The key needs cluster:admin."""
    _require_zstandard()
    from dataplane.client.backups import BackupReader, chained, verify_backup  # noqa: PLC0415
    from dataplane.client.restores import restore_all  # noqa: PLC0415 - an extra

    session, named = session_of(context), restore_id or secrets.token_hex(16)
    with contextlib.ExitStack() as stack:
        verified = verify_backup(_opened(stack, file), load_anchor_file(anchor))
        output.note(f"{verified.in_words()}\nrestore {named}")
        urls, token = session.nodes_and_key()
        client = stack.enter_context(Client(urls, token, timeout_s=TIMEOUT_S))
        bars = stack.enter_context(output.progress())
        task = bars.add_task("restoring", total=None)
        ended = restore_all(
            client.run,
            named,
            verified,
            chained([BackupReader(opened) for opened in _opened(stack, file)]),
            replace=replace,
            pause=lambda: time.sleep(POLL_S),
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
    output.line(f"{ended['rows']} rows restored")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="backups")
