"""Long work of the portal: look at it, watch it, cancel it, try it again."""

import time
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from aerolith_cli import output
from aerolith_cli.exits import UNSUCCESSFUL, CommandError
from aerolith_cli.options import JsonFlag, LimitOption, examples
from aerolith_cli.portal import Portal
from aerolith_cli.session import Session, session_of

commands = typer.Typer(no_args_is_help=True, help="Long work: creating, scaling, deleting.")
POLL_S: Final = 0.5
SUCCEEDED: Final = "succeeded"
OVER: Final = frozenset({SUCCEEDED, "cancelled", "needs_operator"})
OperationId = Annotated[str, typer.Argument(metavar="OPERATION", help="Its id.")]
_COLUMNS: Final[list[output.Column]] = [
    ("OPERATION", lambda row: row["id"]),
    ("KIND", lambda row: row["kind"]),
    ("STATUS", lambda row: row["status"]),
    ("REQUESTED BY", lambda row: row["requested_by"]),
    ("CREATED", lambda row: row["created"]),
]
_STEPS: Final[list[output.Column]] = [
    ("STEP", lambda row: row["title"]),
    ("STATUS", lambda row: row["status"]),
    ("WAITING FOR", lambda row: row["waiting_for"]),
    ("ERROR", lambda row: row["error"]),
]


def watch(
    portal: Portal,
    org: str,
    operation: dict[str, Any],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Tell each step as it begins and ends, until the operation is over; return it.

    Raises:
        CommandError: It did not succeed; says what the portal says.
    """
    told: dict[str, str] = {}
    while True:
        for step in operation["steps"]:
            status = step["status"]
            if status != "pending" and told.get(step["name"]) != status:
                output.note(f"{status:<10} {step['title']}")
                told[step["name"]] = status
        if operation["status"] in OVER:
            break
        sleep(POLL_S)
        operation = portal.get(f"{org}/operations/{operation['id']}")
    if operation["status"] != SUCCEEDED:
        raise _unsuccessful(operation)
    output.note(f"{SUCCEEDED}  {operation['kind']} ({operation['id']})")
    return operation


def _unsuccessful(operation: dict[str, Any]) -> CommandError:
    error = operation["error"] or {}
    words = f"the operation is {operation['status'].replace('_', ' ')}"
    if error.get("detail"):
        words += f": {error['detail']}"
    hint = operation["next_action"] or f"See: aerolith operations show {operation['id']}"
    return CommandError(words, code=UNSUCCESSFUL, hint=hint)


def accepted(
    session: Session, portal: Portal, answer: dict[str, Any], *, wait: bool, as_json: bool
) -> None:
    """Tell of work that was begun, and watch it if that is wanted."""
    operation = answer["operation"]
    if not wait:
        if as_json:
            output.json_value(answer)
        else:
            output.line(operation["id"])
            output.note(f"begun; watch it: aerolith operations watch {operation['id']}")
        return
    org = session.org(portal)
    operation = watch(portal, org, operation)
    if as_json:
        cluster = portal.get(f"{org}/clusters/{operation['cluster']}")
        output.json_value({"operation": operation, "cluster": cluster})


@commands.command("list")
def list_(context: typer.Context, *, limit: LimitOption = 20, as_json: JsonFlag = False) -> None:
    """List long work, newest first; of one cluster with --cluster."""
    session = session_of(context)
    with session.portal() as portal:
        params = {}
        if session.cluster is not None:
            params["cluster"] = session.find_cluster(portal)["id"]
        path = f"{session.org(portal)}/operations"
        rows = list(portal.pages(path, limit=limit, params=params))
    output.listing(rows, _COLUMNS, as_json=as_json)


@commands.command()
def show(context: typer.Context, operation: OperationId, *, as_json: JsonFlag = False) -> None:
    """Show one with its steps."""
    session = session_of(context)
    with session.portal() as portal:
        found = portal.get(f"{session.org(portal)}/operations/{operation}")
    if as_json:
        output.json_value(found)
        return
    error = found["error"] or {}
    output.facts(
        [
            *((name, found[name]) for name in ("id", "kind", "status", "cluster", "deadline")),
            ("error", error.get("detail")),
            ("next", found["next_action"]),
        ]
    )
    output.line("")
    output.table(found["steps"], _STEPS)


@commands.command("watch", epilog=examples("aerolith operations watch 0199...-...", "echo $?"))
def watch_(context: typer.Context, operation: OperationId, *, as_json: JsonFlag = False) -> None:
    """Watch one until it is over; exits with 8 when it did not succeed."""
    session = session_of(context)
    with session.portal() as portal:
        org = session.org(portal)
        found = watch(portal, org, portal.get(f"{org}/operations/{operation}"))
    if as_json:
        output.json_value(found)


def _order(context: typer.Context, operation: str, what: str, *, as_json: bool) -> None:
    session = session_of(context)
    with session.portal() as portal:
        answer = portal.write("POST", f"{session.org(portal)}/operations/{operation}/{what}")
        accepted(session, portal, answer, wait=False, as_json=as_json)


@commands.command()
def cancel(context: typer.Context, operation: OperationId, *, as_json: JsonFlag = False) -> None:
    """Ask one to stop and to clean up."""
    _order(context, operation, "cancel", as_json=as_json)


@commands.command()
def retry(context: typer.Context, operation: OperationId, *, as_json: JsonFlag = False) -> None:
    """Go on from the step at which one stopped."""
    _order(context, operation, "retry", as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="operations")
