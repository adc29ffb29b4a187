"""Clusters: create, look at, resize, delete."""

from typing import Annotated, Any, Final

import msgspec
import typer

from aerolith_cli import output, profiles
from aerolith_cli.exits import USAGE, CommandError
from aerolith_cli.operations import accepted
from aerolith_cli.options import (
    ClusterName,
    JsonFlag,
    LimitOption,
    WaitFlag,
    YesFlag,
    confirm,
    examples,
)
from aerolith_cli.portal import Portal
from aerolith_cli.session import Session, session_of

commands = typer.Typer(no_args_is_help=True, help="Clusters: create, look at, resize, delete.")
NODES_MAX: Final = 31
NodeCount = Annotated[int, typer.Option(min=1, max=NODES_MAX, help="How many nodes.")]
_COLUMNS: Final[list[output.Column]] = [
    ("CLUSTER", lambda row: row["name"]),
    ("STATUS", lambda row: row["status"]),
    ("PLAN", lambda row: row["plan"]),
    ("REGION", lambda row: row["region"]),
    ("NODES", lambda row: f"{row['observed']['ready']}/{row['desired']['nodes']}"),
    ("ID", lambda row: row["id"]),
]
NODE_COLUMNS: Final[list[output.Column]] = [
    ("NODE", lambda row: row["id"]),
    ("STATE", lambda row: row["state"]),
    ("ROLE", lambda row: row["role"]),
    ("SEQUENCE", lambda row: row["sequence"]),
    ("LAG", lambda row: row["lag"]),
    ("URL", lambda row: row["url"]),
]


@commands.command("list")
def list_(
    context: typer.Context,
    *,
    deleted: Annotated[bool, typer.Option("--deleted", help="Also the recycle bin.")] = False,
    limit: LimitOption = 200,
    as_json: JsonFlag = False,
) -> None:
    """List clusters, newest first."""
    session = session_of(context)
    params = {"deleted": "true"} if deleted else {}
    with session.portal() as portal:
        path = f"{session.org(portal)}/clusters"
        rows = list(portal.pages(path, limit=limit, params=params))
    output.listing(rows, _COLUMNS, as_json=as_json)


@commands.command()
def show(context: typer.Context, cluster: ClusterName = None, *, as_json: JsonFlag = False) -> None:
    """Show a cluster: what is wanted, what was seen, its nodes and addresses."""
    session = session_of(context)
    with session.portal() as portal:
        found = session.find_cluster(portal, cluster)
        nodes = portal.get(f"{session.place(portal, found)}/nodes")["results"]
    if as_json:
        output.json_value({**found, "nodes": nodes})
        return
    seen = found["observed"]
    output.facts(
        [
            *((name, found[name]) for name in ("name", "id", "status", "plan", "region")),
            ("nodes", f"{seen['ready']} of {found['desired']['nodes']} ready"),
            ("quorum", f"{seen['quorum']} ({'there' if seen['has_quorum'] else 'not there'})"),
            ("view", f"{seen['view']}, primary {seen['primary']}"),
            ("sandbox", found["sandbox"]),
        ]
    )
    output.line(found["fault_budget"]["sentence"])
    output.line("")
    output.table(nodes, NODE_COLUMNS)


@commands.command(
    epilog=examples(
        "aerolith clusters create shop --plan professional --nodes 4",
        "aerolith clusters create shop --plan professional --nodes 4 --yes --no-wait --json",
    )
)
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What to call it.")],
    *,
    plan: Annotated[str, typer.Option(help="See `aerolith clusters plans`.")],
    nodes: NodeCount,
    region: Annotated[str | None, typer.Option(help="Otherwise the only one.")] = None,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="May be broken on purpose.")] = False,
    wait: WaitFlag = True,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Create a cluster, once you have seen what it costs and what it survives."""
    session = session_of(context)
    with session.portal() as portal:
        path = f"{session.org(portal)}/clusters"
        price = portal.write("POST", f"{path}/estimate", {"plan": plan, "nodes": nodes})
        _tell_price(price)
        confirm(f"Create {name}?", yes=yes)
        body = {
            "name": name,
            "plan": plan,
            "nodes": nodes,
            "region": region or _only_region(portal),
            "sandbox": sandbox,
        }
        answer = portal.write("POST", path, body)
        accepted(session, portal, answer, wait=wait, as_json=as_json)


def _only_region(portal: Portal) -> str:
    codes = [str(row["code"]) for row in portal.get("regions")["results"]]
    if len(codes) != 1:
        hint = f"Choose by --region: {', '.join(codes) or 'none'}"
        raise CommandError("which region?", code=USAGE, hint=hint)
    return codes[0]


def _money(amount: dict[str, str] | None) -> str:
    return "by contract" if amount is None else f"{amount['amount']} {amount['currency']}"


def _tell_price(price: dict[str, Any]) -> None:
    output.note(f"{_money(price['per_month'])} a month. {price['fault_budget']['sentence']}")
    if (difference := price.get("difference_per_month")) is not None:
        output.note(f"That is {_money(difference)} a month more than now.")


@commands.command(epilog=examples("aerolith clusters scale shop --nodes 7"))
def scale(
    context: typer.Context,
    cluster: ClusterName = None,
    *,
    nodes: NodeCount,
    wait: WaitFlag = True,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Add or remove nodes while the cluster serves."""
    session = session_of(context)
    with session.portal() as portal:
        found = session.find_cluster(portal, cluster)
        path = session.place(portal, found)
        _tell_price(portal.write("POST", f"{path}/estimate", {"nodes": nodes}))
        confirm(f"Change {found['name']} from {found['desired']['nodes']} to {nodes}?", yes=yes)
        answer = portal.write("POST", f"{path}/scale", {"nodes": nodes})
        accepted(session, portal, answer, wait=wait, as_json=as_json)


@commands.command(
    epilog=examples(
        "aerolith clusters delete shop              # into the recycle bin",
        "aerolith clusters delete shop --permanent  # out of it, for good",
    )
)
def delete(
    context: typer.Context,
    cluster: Annotated[str, typer.Argument(help="Its name or id, in full.")],
    *,
    permanent: Annotated[
        bool, typer.Option("--permanent", help="For good: it must be in the recycle bin.")
    ] = False,
    wait: WaitFlag = True,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Stop a cluster and move it to the recycle bin, from which it can come back."""
    session = session_of(context)
    with session.portal() as portal:
        found = _find(session, portal, cluster, deleted=permanent)
        what = "Delete for good" if permanent else "Move to the recycle bin:"
        confirm(f"{what} {found['name']} ({found['id']})?", yes=yes)
        answer = portal.write(
            "DELETE",
            session.place(portal, found),
            {"confirm": found["name"], "permanent": permanent},
        )
        accepted(session, portal, answer, wait=wait, as_json=as_json)


@commands.command()
def undelete(
    context: typer.Context,
    cluster: Annotated[str, typer.Argument(help="Its name or id.")],
    *,
    wait: WaitFlag = True,
    as_json: JsonFlag = False,
) -> None:
    """Bring a cluster back from the recycle bin, with its data and addresses."""
    session = session_of(context)
    with session.portal() as portal:
        found = _find(session, portal, cluster, deleted=True)
        path = f"{session.place(portal, found)}/undelete"
        accepted(session, portal, portal.write("POST", path), wait=wait, as_json=as_json)


def _find(session: Session, portal: Portal, named: str, *, deleted: bool) -> dict[str, Any]:
    """Find a cluster, also in the recycle bin; there, names may repeat."""
    if not deleted:
        return session.find_cluster(portal, named)
    path = f"{session.org(portal)}/clusters"
    rows = portal.pages(path, limit=1_000, params={"deleted": "true"})
    fitting = [row for row in rows if row["deleted"] and named in {row["name"], row["id"]}]
    if len(fitting) == 1:
        return fitting[0]
    words = f"{len(fitting)} clusters {named!r} are in the recycle bin"
    raise CommandError(words, hint="See `aerolith clusters list --deleted`; name it by its id.")


@commands.command()
def use(
    context: typer.Context, cluster: Annotated[str, typer.Argument(help="Name or id.")]
) -> None:
    """Use this cluster from now on, where none is named."""
    session = session_of(context)
    with session.portal() as portal:
        found = session.find_cluster(portal, cluster)
    chosen = msgspec.structs.replace(session.profile(), cluster=found["id"])
    with profiles.changing() as held:
        held[0] = profiles.with_profile(held[0], session.name, chosen)


@commands.command()
def plans(context: typer.Context, *, as_json: JsonFlag = False) -> None:
    """List plans: sizes, prices, limits."""
    with session_of(context).portal() as portal:
        rows = portal.get("plans")["results"]
    columns: list[output.Column] = [
        ("PLAN", lambda row: row["code"]),
        ("NAME", lambda row: row["name"]),
        ("NODES", lambda row: ", ".join(map(str, row["node_counts"]))),
        ("A MONTH", lambda row: _money(row["price_per_month"])),
    ]
    output.listing(rows, columns, as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="clusters")
