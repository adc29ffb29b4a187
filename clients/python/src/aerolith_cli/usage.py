"""What was used, and what it costs so far."""

from typing import Annotated, Any

import typer

from aerolith_cli import output
from aerolith_cli.exits import PortalRefusedError
from aerolith_cli.options import JsonFlag, examples
from aerolith_cli.portal import Portal
from aerolith_cli.session import session_of


def usage(
    context: typer.Context,
    *,
    month: Annotated[
        str | None, typer.Option(help="A UTC month as 2026-11; otherwise the present one.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what the organization used in a month by meter, and its running cost.

    With --cluster only what that cluster used; costs are of the whole organization.
    """
    session = session_of(context)
    params = {} if month is None else {"month": month}
    with session.portal() as portal:
        org = session.org(portal)
        used = portal.get(f"{org}/usage", params)
        costs = _costs(portal, org, params)
        clusters = used["clusters"]
        if session.cluster is not None:
            wanted = session.find_cluster(portal)["id"]
            clusters = [row for row in clusters if row["id"] == wanted]
    if as_json:
        output.json_value({**used, "clusters": clusters, "costs": costs})
        return
    output.note(f"{used['period']['start']} to {used['period']['end']}")
    output.table(
        _meters(clusters),
        [
            ("CLUSTER", lambda row: row["cluster"]),
            ("METER", lambda row: row["meter"]),
            ("QUANTITY", lambda row: row["quantity"]),
            ("UNIT", lambda row: row["unit"]),
        ],
    )
    if costs is not None:
        _tell_costs(costs)


def _costs(portal: Portal, org: str, params: dict[str, str]) -> dict[str, Any] | None:
    """Return the month in money, None for who may not see it."""
    try:
        found: dict[str, Any] = portal.get(f"{org}/costs", params)
    except PortalRefusedError as error:
        if error.problem_code != "forbidden":
            raise
        output.note("what it costs is for those who may read bills")
        return None
    return found


def _meters(clusters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for cluster in clusters:
        calls = sorted(cluster["calls"].items())
        meters = [
            *((f"calls.{kind}", count, "call") for kind, count in calls),
            ("storage", cluster["storage_byte_hours"], "byte-hour"),
            ("nodes", cluster["node_hours"], "node-hour"),
        ]
        rows += [
            {"cluster": cluster["name"], "meter": meter, "quantity": quantity, "unit": unit}
            for meter, quantity, unit in meters
        ]
    return rows


def _tell_costs(costs: dict[str, Any]) -> None:
    output.line("")
    output.table(
        [*costs["lines"], {"label": "Total", "quantity": "", "unit": "", "amount": costs["total"]}],
        [
            ("COST", lambda row: row["label"]),
            ("QUANTITY", lambda row: row["quantity"]),
            ("UNIT", lambda row: row["unit"]),
            ("AMOUNT", lambda row: f"{row['amount']['amount']} {row['amount']['currency']}"),
        ],
    )
    ends = costs["forecast"]
    output.note(
        f"The month will end between {ends['low']['amount']} and {ends['high']['amount']} "
        f"{ends['likely']['currency']}, likely at {ends['likely']['amount']}; without tax."
    )


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("aerolith usage", "aerolith --cluster shop usage --month 2026-10"))(
        usage
    )
