"""Options and questions that many commands share."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from aerolith_cli.exits import USAGE, CommandError

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
YesFlag = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
WaitFlag = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Watch the operation until it is over.")
]
Collection = Annotated[str, typer.Argument(help="Name of the collection.")]
DocumentId = Annotated[str, typer.Argument(metavar="ID", help="Id of the document.")]
ClusterName = Annotated[
    str | None,
    typer.Argument(metavar="[CLUSTER]", help="Name or id; otherwise the one in use."),
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=1_000, help="At most so many.")]
IfVersion = Annotated[
    int | None,
    typer.Option("--if-version", min=1, help="Only if the document has this version."),
]
Consistency = Annotated[
    str | None,
    typer.Option(metavar="LEVEL", help="strong (default), session, bounded or local."),
]
AnchorFile = Annotated[
    Path, typer.Option("--anchor", help="The cluster's trust anchor: see `aerolith anchor`.")
]


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that matters, unless that was answered beforehand.

    Raises:
        CommandError: There is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        hint = "--yes answers beforehand."
        raise CommandError("there is no terminal to ask", code=USAGE, hint=hint)
    typer.confirm(question, abort=True, err=True)


def days_from_now(days: int) -> str:
    """Return a moment as the portal takes it."""
    until = datetime.now(UTC) + timedelta(days=days)  # noqa: TID251 - somebody's own clock
    return until.isoformat(timespec="seconds")


def examples(*lines: str) -> str:
    """Return examples for the end of a command's help; lines stay as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {text}" for text in lines)
