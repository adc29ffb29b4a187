"""Prices and limits as people read them."""

from decimal import ROUND_HALF_UP, Decimal

from django import template

register = template.Library()

THOUSAND = 1000
UNITS = ("bytes", "KB", "MB", "GB", "TB", "PB")


@register.filter
def price(amount: Decimal | None, places: str = "0.01") -> str:
    """Print US dollars; a plan by contract has no price."""
    if amount is None:
        return "by contract"
    return f"${amount.quantize(Decimal(places), rounding=ROUND_HALF_UP):,}"


@register.filter
def limit_bytes(size: int | None) -> str:
    """Print a limit of storage."""
    if size is None:
        return "Unlimited"
    value, unit = Decimal(size), 0
    while value >= THOUSAND and unit < len(UNITS) - 1:
        value, unit = value / THOUSAND, unit + 1
    return f"{value:,.0f} {UNITS[unit]}"


@register.filter
def limit_count(count: int | None) -> str:
    """Print a limit of a count."""
    return "Unlimited" if count is None else f"{count:,}"
