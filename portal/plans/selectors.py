"""Reading the catalogue, pricing a size, and saying what the size survives."""

from datetime import datetime, timedelta
from decimal import Decimal

from dataplane.client.quorum import crashes_tolerated, faults_tolerated, quorum_size
from portal.core import clock
from portal.core.tenancy import public_context
from portal.plans.errors import UnableToSize, UnknownPlan, UnknownRegion
from portal.plans.models import Plan, Region
from portal.plans.types import HOURS_PER_MONTH, Estimate, FaultBudget, Offer

NODE_COUNTS = (1, 3, 4, 5, 6, 7, 10)
CACHED_FOR = timedelta(seconds=30)

# The catalogue is a few rows that every page needs and operators change once in a while.
_cached: tuple[datetime, dict[str, Offer], tuple[Region, ...]] | None = None


def _catalogue() -> tuple[dict[str, Offer], tuple[Region, ...]]:
    global _cached  # noqa: PLW0603 - a read cache of a process, replaced as a whole.
    now = clock.now()
    if _cached is None or not now - CACHED_FOR <= _cached[0] <= now:
        with public_context():
            offers = {plan.code: _offer(plan) for plan in Plan.objects.all()}
            regions = tuple(Region.objects.filter(is_offered=True))
        if not offers:
            return offers, regions
        _cached = (now, offers, regions)
    return _cached[1], _cached[2]


def catalogue_forget() -> None:
    """Read the catalogue anew next time: after an operator changed it."""
    global _cached  # noqa: PLW0603 - see above.
    _cached = None


def _offer(plan: Plan) -> Offer:
    return Offer(
        code=plan.code,
        name=plan.name,
        tagline=plan.tagline,
        monthly_price=plan.monthly_price,
        nodes=plan.nodes,
        node_counts=tuple(plan.node_counts),
        storage_bytes=plan.storage_bytes,
        calls_per_month=plan.calls_per_month,
        requests_per_s=plan.requests_per_s,
        clusters_max=plan.clusters_max,
        support=plan.support,
        features=tuple(plan.features),
        backup_gb_price=plan.backup_gb_price,
    )


def plan_list() -> list[Offer]:
    """Return every plan, cheapest first."""
    return list(_catalogue()[0].values())


def region_list() -> list[Region]:
    """Return every region one can choose."""
    return list(_catalogue()[1])


def plan_get(code: str) -> Offer:
    """Return a plan.

    Raises:
        UnknownPlan: there is none of that code.
    """
    offer = _catalogue()[0].get(code)
    if offer is None:
        known = ", ".join(_catalogue()[0])
        detail = f"There is no plan '{code}'. Choose one of {known}."
        raise UnknownPlan(errors=[{"pointer": "/plan", "detail": detail}])
    return offer


def region_get(code: str) -> Region:
    """Return a region.

    Raises:
        UnknownRegion: there is none of that code.
    """
    for region in _catalogue()[1]:
        if region.code == code:
            return region
    detail = f"There is no region '{code}'."
    raise UnknownRegion(errors=[{"pointer": "/region", "detail": detail}])


def node_hour_price(code: str) -> Decimal | None:
    """Return the exact price of a node-hour; None when it is by contract."""
    offer = _catalogue()[0].get(code)
    return None if offer is None else offer.node_hour_price


def backup_gb_price(code: str) -> Decimal | None:
    """Return what a gigabyte of backups costs in a month; None when it is by contract."""
    offer = _catalogue()[0].get(code)
    return None if offer is None else offer.backup_gb_price


def estimate(plan: str, nodes: int) -> Estimate:
    """Price a size of a plan before it is created.

    Raises:
        UnknownPlan: there is none of that code.
        UnableToSize: the plan is not sold with that many nodes.
    """
    offer = plan_get(plan)
    if nodes not in offer.node_counts:
        sizes = ", ".join(str(count) for count in offer.node_counts)
        detail = f"{offer.name} is offered with {sizes} nodes, not {nodes}."
        raise UnableToSize(errors=[{"pointer": "/nodes", "detail": detail}])
    price = offer.node_hour_price
    per_hour = None if price is None else price * nodes
    return Estimate(
        plan=offer,
        nodes=nodes,
        node_hour=price,
        per_hour=per_hour,
        per_month=None if per_hour is None else per_hour * HOURS_PER_MONTH,
        budget=fault_budget(nodes),
    )


def fault_budget(nodes: int) -> FaultBudget:
    """Say what a cluster of that many nodes survives (consensus: q = ceil((n+f+1)/2))."""
    f, quorum, crashes = faults_tolerated(nodes), quorum_size(nodes), crashes_tolerated(nodes)
    return FaultBudget(
        nodes=nodes,
        f=f,
        quorum=quorum,
        crashes=crashes,
        is_byzantine=f > 0,
        sentence=_sentence(nodes, f, crashes),
    )


def _sentence(nodes: int, f: int, crashes: int) -> str:
    if nodes == 1:
        return "No fault tolerance: durable on one disk, unavailable while its node is down."
    if f == 0:
        return (
            f"Survives {_count(crashes, 'crashed or unreachable node')}. Crash-tolerant only: "
            "not Byzantine-tolerant, one lying node can fork or forge."
        )
    if crashes == f:
        words = f"Survives {_count(f, 'malicious or crashed node')}."
        return words + (" The most economical Byzantine size." if nodes == 3 * f + 1 else "")
    return (
        f"Survives {_count(f, 'malicious node')} and {_count(crashes - f, 'crashed node')} "
        f"at once, or {crashes} crashed."
    )


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
