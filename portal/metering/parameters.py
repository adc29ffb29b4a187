"""Parameters that the page and the API share."""

from datetime import UTC, datetime, timedelta

from portal.core import clock
from portal.core.errors import Invalid
from portal.metering.selectors import month_of
from portal.metering.types import Period

# Hourly bars reach back this far, daily ones over the whole month.
HOURS_SHOWN = timedelta(hours=72)


def month_asked(text: str | None) -> Period:
    """Read the `month` parameter.

    Raises:
        Invalid: It is not of the form 2026-11.
    """
    if text is None:
        return month_of(clock.now())
    try:
        return month_of(datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        detail = "a month is written like 2026-11"
        raise Invalid(errors=[{"pointer": "/month", "detail": detail}]) from error


def width_asked(text: str | None) -> str:
    """Read the `by` parameter.

    Raises:
        Invalid: It is neither day nor hour.
    """
    by = text or "day"
    if by not in {"day", "hour"}:
        raise Invalid(errors=[{"pointer": "/by", "detail": "by is day or hour"}])
    return by


def chart_span(period: Period, *, by: str) -> Period:
    """Answer what the chart shows: all days of the month, or the last hours of it."""
    if by == "day":
        return period
    end = min(clock.now() + timedelta(hours=1), period.end)
    end = end.replace(minute=0, second=0, microsecond=0)
    return Period(max(period.start, end - HOURS_SHOWN), end)
