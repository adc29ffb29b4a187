"""How often the portal backs the cluster in use up, and what it keeps."""

from typing import Annotated, Any, Final

import typer

from aerolith_cli import output
from aerolith_cli.exits import USAGE, CommandError
from aerolith_cli.options import JsonFlag, examples
from aerolith_cli.portal import Portal
from aerolith_cli.session import Session, session_of

commands = typer.Typer(no_args_is_help=True, help="How often backups are taken and kept.")
PERIODS: Final = ("hourly", "daily", "weekly", "monthly", "yearly")
Kept = Annotated[int | None, typer.Option(min=0, help="So many are kept; otherwise as it is.")]


def _path(session: Session, portal: Portal) -> str:
    return f"{session.place(portal)}/backups/policy"


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.json_value(found)
        return
    every = found["every_hours"]
    output.facts(
        [
            ("every", "never" if every == 0 else f"{every} h"),
            ("next", found["next"]),
            *((f"keep {period}", found["keep"][period]) for period in PERIODS),
            ("window", f"{found['window_days']} days back, to any moment"),
            *((f"window {name}", value) for name, value in (found["window"] or {}).items()),
            *((f"rehearsal {name}", value) for name, value in (found["drill"] or {}).items()),
        ]
    )


@commands.command()
def show(context: typer.Context, *, as_json: JsonFlag = False) -> None:
    """Show the policy, when the next backup is due, and how the last rehearsal went."""
    session = session_of(context)
    with session.portal() as portal:
        found = portal.get(_path(session, portal))
    _show(found, as_json=as_json)


@commands.command(
    "set",
    epilog=examples(
        "aerolith backups policy set --every-hours 6 --daily 14 --monthly 12",
        "aerolith backups policy set --every-hours 0        # no more",
    ),
)
def set_(
    context: typer.Context,
    *,
    every_hours: Annotated[
        int | None, typer.Option(min=0, help="1, 2, 4, 6, 8, 12 or 24; 0 is never.")
    ] = None,
    hourly: Kept = None,
    daily: Kept = None,
    weekly: Kept = None,
    monthly: Kept = None,
    yearly: Kept = None,
    window_days: Annotated[
        int | None, typer.Option(min=0, help="Days back that any moment can be restored.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Change the policy; what is not named stays as it is."""
    keep = dict(zip(PERIODS, (hourly, daily, weekly, monthly, yearly), strict=True))
    if all(value is None for value in (every_hours, window_days, *keep.values())):
        raise CommandError("say what is to change", code=USAGE, hint="See --help.")
    session = session_of(context)
    with session.portal() as portal:
        path = _path(session, portal)
        present = portal.get(path)
        body = {
            "every_hours": present["every_hours"] if every_hours is None else every_hours,
            "keep": {
                period: present["keep"][period] if value is None else value
                for period, value in keep.items()
            },
            "window_days": present["window_days"] if window_days is None else window_days,
        }
        found = portal.write("PUT", path, body)
    _show(found, as_json=as_json)


def add_to(backups: typer.Typer) -> None:
    """Add the commands below those of backups."""
    backups.add_typer(commands, name="policy")
