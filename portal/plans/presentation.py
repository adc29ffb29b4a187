"""Plans, regions and estimates as the API prints them."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from portal.plans.models import Region
from portal.plans.selectors import fault_budget
from portal.plans.types import Estimate, FaultBudget, Offer

CURRENCY = "USD"


def money(amount: Decimal | None, *, places: str = "0.01") -> dict[str, str] | None:
    """Print an amount; None where it is by contract."""
    if amount is None:
        return None
    rounded = amount.quantize(Decimal(places), rounding=ROUND_HALF_UP)
    return {"amount": str(rounded), "currency": CURRENCY}


def budget_json(budget: FaultBudget) -> dict[str, Any]:
    """Print what a size survives."""
    return {
        "nodes": budget.nodes,
        "f": budget.f,
        "quorum": budget.quorum,
        "crashes": budget.crashes,
        "byzantine": budget.is_byzantine,
        "sentence": budget.sentence,
    }


def plan_json(offer: Offer) -> dict[str, Any]:
    """Print a plan."""
    return {
        "code": offer.code,
        "name": offer.name,
        "tagline": offer.tagline,
        "price_per_month": money(offer.monthly_price),
        "price_per_node_hour": money(offer.node_hour_price, places="0.000001"),
        "price_per_backup_gb_month": money(offer.backup_gb_price, places="0.0001"),
        "nodes": offer.nodes,
        "node_counts": list(offer.node_counts),
        "limits": {
            "storage_bytes": offer.storage_bytes,
            "calls_per_month": offer.calls_per_month,
            "requests_per_s": offer.requests_per_s,
            "clusters": offer.clusters_max,
        },
        "support": offer.support,
        "features": list(offer.features),
        "self_service": offer.is_self_service,
        "fault_budgets": [budget_json(fault_budget(n)) for n in offer.node_counts],
    }


def region_json(region: Region) -> dict[str, str]:
    """Print a region."""
    return {"code": region.code, "name": region.name}


def resize_json(present: Estimate, wanted: Estimate) -> dict[str, Any]:
    """Print the price of another size, beside what is paid and survived now."""
    difference = None
    if present.per_month is not None and wanted.per_month is not None:
        difference = wanted.per_month - present.per_month
    return {
        **estimate_json(wanted),
        "present": {
            "nodes": present.nodes,
            "per_hour": money(present.per_hour, places="0.0001"),
            "per_month": money(present.per_month),
            "fault_budget": budget_json(present.budget),
        },
        "difference_per_month": money(difference),
    }


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    """Print a price before it is paid, with the line it will be on the bill."""
    lines = []
    if estimate.per_month is not None:
        label = f"{estimate.nodes} nodes, {estimate.plan.name} plan"
        lines.append(
            {
                "label": label,
                "quantity": str(estimate.nodes * 730),
                "unit": "node-hour",
                "unit_price": money(estimate.node_hour, places="0.000001"),
                "amount": money(estimate.per_month),
            }
        )
    return {
        "plan": estimate.plan.code,
        "nodes": estimate.nodes,
        "per_hour": money(estimate.per_hour, places="0.0001"),
        "per_month": money(estimate.per_month),
        "lines": lines,
        "fault_budget": budget_json(estimate.budget),
    }
