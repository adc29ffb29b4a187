"""Reading the catalogue."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from dataplane.client.quorum import crashes_tolerated, faults_tolerated, quorum_size
from portal.core.errors import Invalid
from portal.plans.models import Plan, Region
from portal.plans.types import Estimate, FaultBudget

HOURS_PER_MONTH: Final = 730
CENT: Final = Decimal("0.01")

_SENTENCES: Final = {
    1: "No fault tolerance: one node, durable on one disk. For trying things out.",
    3: "Survives 1 crashed or unreachable node. Not Byzantine-tolerant: one lying node could "
    "forge or fork.",
    4: "Survives 1 node that crashes or lies. The most economical Byzantine size.",
    5: "Survives 1 node that crashes or lies, like 4 nodes; a fifth adds little.",
    6: "Survives 1 node that lies and 1 that crashes at the same time, or 2 that crash.",
    7: "Survives 2 nodes that crash or lie. The most economical size for two.",
    10: "Survives 3 nodes that crash or lie.",
}


def plan_list() -> list[Plan]:
    """Return the plans on offer, cheapest first."""
    return list(Plan.objects.filter(is_active=True))


def region_list() -> list[Region]:
    """Return the regions on offer."""
    return list(Region.objects.filter(is_active=True))


def plan_get(code: str) -> Plan:
    """Return a plan on offer.

    Raises:
        Invalid: There is none of that code.
    """
    plan = Plan.objects.filter(code=code, is_active=True).first()
    if plan is None:
        raise Invalid(errors=[{"pointer": "/plan", "detail": f"There is no plan {code!r}."}])
    return plan


def region_get(code: str) -> Region:
    """Return a region on offer.

    Raises:
        Invalid: There is none of that code.
    """
    region = Region.objects.filter(code=code, is_active=True).first()
    if region is None:
        raise Invalid(errors=[{"pointer": "/region", "detail": f"There is no region {code!r}."}])
    return region


def node_hour_price(code: str) -> Decimal | None:
    """Return the price of one node for one hour, in full precision; None when on request.

    A plan that is not offered any more still has its price: clusters of it still run.
    """
    plan = Plan.objects.filter(code=code).first()
    return None if plan is None else node_hour_of(plan)


def node_hour_of(plan: Plan) -> Decimal | None:
    """Return the price of one node of the plan for one hour; None when on request."""
    if plan.monthly_price is None:
        return None
    return plan.monthly_price / (plan.nodes * HOURS_PER_MONTH)


def estimate(plan: Plan, nodes: int) -> Estimate:
    """Return what a cluster of the plan with so many nodes costs.

    Raises:
        Invalid: The plan does not come in that size, or its price is on request.
    """
    node_hour = node_hour_of(plan)
    if node_hour is None:
        detail = f"{plan.name} is set up together with you: write to us."
        raise Invalid(errors=[{"pointer": "/plan", "detail": detail}], code="on_request")
    if nodes not in plan.node_counts:
        sizes = ", ".join(str(count) for count in plan.node_counts)
        detail = f"{plan.name} comes with {sizes} nodes."
        raise Invalid(errors=[{"pointer": "/nodes", "detail": detail}])
    hour = node_hour * nodes
    month = (hour * HOURS_PER_MONTH).quantize(CENT, ROUND_HALF_UP)
    return Estimate(plan.code, nodes, node_hour, hour, month)


def fault_budget(nodes: int) -> FaultBudget:
    """Return what a cluster of that size survives."""
    f, crashes = faults_tolerated(nodes), crashes_tolerated(nodes)
    sentence = _SENTENCES.get(nodes) or _general_sentence(f, crashes)
    return FaultBudget(nodes, f, quorum_size(nodes), crashes, f > 0, sentence)


def _general_sentence(f: int, crashes: int) -> str:
    if f == 0:
        return f"Survives {crashes} crashed nodes. Not Byzantine-tolerant."
    return f"Survives {f} nodes that crash or lie, or {crashes} that crash."
