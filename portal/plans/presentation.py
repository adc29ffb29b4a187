"""The catalogue as clients see it."""

from decimal import Decimal

from portal.plans.models import Plan
from portal.plans.selectors import node_hour_of
from portal.plans.types import Estimate, FaultBudget

CURRENCY = "USD"


def money(amount: Decimal, places: int = 2) -> dict[str, str]:
    """Return an amount as the API prints money: a string, never a float."""
    return {"amount": f"{amount:.{places}f}", "currency": CURRENCY}


def plan_json(plan: Plan) -> dict[str, object]:
    """Return a plan."""
    node_hour = node_hour_of(plan)
    return {
        "code": plan.code,
        "name": plan.name,
        "monthly_price": None if plan.monthly_price is None else money(plan.monthly_price),
        "node_hour_price": None if node_hour is None else money(node_hour, 6),
        "nodes": plan.nodes,
        "node_counts": plan.node_counts,
        "storage_bytes": plan.storage_bytes,
        "calls_per_month": plan.calls_per_month,
        "support": plan.support,
        "features": plan.features,
    }


def budget_json(budget: FaultBudget) -> dict[str, object]:
    """Return a fault budget."""
    return {
        "nodes": budget.nodes,
        "f": budget.f,
        "quorum": budget.quorum,
        "crashes": budget.crashes,
        "byzantine": budget.is_byzantine,
        "sentence": budget.sentence,
    }


def estimate_json(estimate: Estimate, budget: FaultBudget) -> dict[str, object]:
    """Return a price with what it buys."""
    return {
        "plan": estimate.plan,
        "nodes": estimate.nodes,
        "per_hour": money(estimate.hour, 4),
        "per_month": money(estimate.month),
        "hours_per_month": 730,
        "fault_budget": budget_json(budget),
    }
