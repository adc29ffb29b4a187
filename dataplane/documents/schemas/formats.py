"""The formats that are asserted; every other one is a remark."""

from collections.abc import Callable
from datetime import date
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

import re2  # type: ignore[import-untyped]  # The wheel carries no stubs.

_TIME: Final = r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"


def _fits(pattern: str) -> Callable[[str], bool]:
    compiled = re2.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


_is_time_text = _fits(_TIME)
_is_date_text = _fits(r"\d{4}-\d{2}-\d{2}")


def is_date(text: str) -> bool:
    """RFC 3339, section 5.6: full-date."""
    if not _is_date_text(text) or not text.isascii():
        return False
    year, month, day = map(int, text.split("-"))
    try:
        # The year 0 is one of the calendar's, and a leap year like 2000.
        date(year or 2000, month, day)
    except ValueError:
        return False
    return True


def is_time(text: str) -> bool:
    """RFC 3339, section 5.6: full-time; a leap second is the last one of a day in UTC."""
    if not _is_time_text(text) or not text.isascii():
        return False
    if text[6:8] != "60":
        return True
    minutes = int(text[:2]) * 60 + int(text[3:5])
    if text[-1] not in "Zz":
        offset = int(text[-5:-3]) * 60 + int(text[-2:])
        minutes -= offset if text[-6] == "+" else -offset
    return minutes % 1440 == 23 * 60 + 59


def is_date_time(text: str) -> bool:
    """RFC 3339, section 5.6: date-time."""
    return text[10:11] in {"T", "t"} and is_date(text[:10]) and is_time(text[11:])


def is_ipv4(text: str) -> bool:
    """RFC 2673, section 3.2."""
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return text.isascii()


def is_ipv6(text: str) -> bool:
    """RFC 4291, section 2.2, without a zone."""
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return text.isascii() and "%" not in text


FORMATS: Final[dict[str, Callable[[str], bool]]] = {
    "date": is_date,
    "time": is_time,
    "date-time": is_date_time,
    "uuid": _fits(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"),
    "email": _fits(rf"{_ATOM}(\.{_ATOM})*@{_LABEL}(\.{_LABEL})*"),
    "ipv4": is_ipv4,
    "ipv6": is_ipv6,
}
