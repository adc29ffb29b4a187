"""Nodes of the cluster in use: look at them, have more or fewer, replace or restart one."""

from typing import Annotated

import typer

from aerolith_cli import output
from aerolith_cli.clusters import NODE_COLUMNS, scale
from aerolith_cli.operations import accepted
from aerolith_cli.options import JsonFlag, WaitFlag, YesFlag, confirm, examples
from aerolith_cli.session import session_of

commands = typer.Typer(no_args_is_help=True, help="Nodes of the cluster in use.")
LINES_MAX = 1_000
NodeId = Annotated[int, typer.Argument(metavar="NODE", min=0, help="Its number.")]


@commands.command("list")
def list_(context: typer.Context, *, as_json: JsonFlag = False) -> None:
    """List the nodes as the portal last saw them; `aerolith status` asks them."""
    session = session_of(context)
    with session.portal() as portal:
        path = session.place(portal)
        rows = portal.get(f"{path}/nodes")["results"]
    output.listing(rows, NODE_COLUMNS, as_json=as_json)


@commands.command("scale", epilog=examples("aerolith --cluster shop nodes scale 7"))
def scale_(
    context: typer.Context,
    nodes: Annotated[int, typer.Argument(min=1, max=31, help="How many there are to be.")],
    *,
    wait: WaitFlag = True,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Add or remove nodes while the cluster serves."""
    scale(context, None, nodes=nodes, wait=wait, yes=yes, as_json=as_json)


@commands.command(
    epilog=examples("aerolith nodes replace 2", "aerolith nodes replace 2 --yes --no-wait --json")
)
def replace(
    context: typer.Context,
    node: NodeId,
    *,
    wait: WaitFlag = True,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Have a new node take the place of one, which may be dead."""
    session = session_of(context)
    with session.portal() as portal:
        cluster = session.find_cluster(portal)
        confirm(f"Replace node {node} of {cluster['name']}?", yes=yes)
        answer = portal.write("POST", f"{session.place(portal, cluster)}/nodes/{node}/replace")
        accepted(session, portal, answer, wait=wait, as_json=as_json)


@commands.command(epilog=examples("aerolith nodes restart 2"))
def restart(
    context: typer.Context,
    node: NodeId,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Also when the others are no quorum meanwhile.")
    ] = False,
    wait: WaitFlag = True,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Restart a node."""
    session = session_of(context)
    with session.portal() as portal:
        cluster = session.find_cluster(portal)
        confirm(f"Restart node {node} of {cluster['name']}?", yes=yes)
        body = {"node": node, "force": force}
        answer = portal.write("POST", f"{session.place(portal, cluster)}/restart", body)
        accepted(session, portal, answer, wait=wait, as_json=as_json)


@commands.command(epilog=examples("aerolith nodes log 2 --lines 50"))
def log(
    context: typer.Context,
    node: NodeId,
    *,
    lines: Annotated[int, typer.Option(min=1, max=LINES_MAX, help="The last so many.")] = 100,
) -> None:
    """Print what a node logged."""
    session = session_of(context)
    with session.portal() as portal:
        path = session.place(portal)
        found = portal.get(f"{path}/nodes/{node}/log", {"lines": str(lines)})
    for text in found["lines"]:
        output.line(text)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="nodes")
