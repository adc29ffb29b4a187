"""Numbers as people read them."""

from decimal import Decimal

from django import template

register = template.Library()

THOUSAND = 1000
NONE = "\N{EN DASH}"


@register.filter
def bytes_short(value: int | Decimal | None) -> str:
    """Print bytes with a decimal unit, as prices and limits are given in them."""
    if value is None:
        return NONE
    size = Decimal(value)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < THOUSAND:
            return f"{_short(size)} {unit}"
        size /= THOUSAND
    return f"{_short(size)} TB"


@register.filter
def count(value: int | None) -> str:
    """Print a count with thousands separators."""
    return NONE if value is None else f"{value:,}"


@register.filter
def quantity(value: Decimal | None) -> str:
    """Print a quantity with as many places as help."""
    return NONE if value is None else _short(value)


@register.filter
def money(value: Decimal | None) -> str:
    """Print dollars and cents."""
    return NONE if value is None else f"${value:,.2f}"


@register.filter
def duration(seconds: int) -> str:
    """Print a span in its largest useful units."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _short(value: Decimal) -> str:
    """Keep three significant digits of small numbers and none of the places of big ones."""
    size = abs(value)
    if size == 0:
        return "0"
    places = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= Decimal("0.1") else 4
    text = f"{value:,.{places}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
