"""Usage events as nodes state them."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from portal.metering.types import Source

CLUSTER = UUID("01930000-0000-7000-8000-000000000001")
PLANE = "ab" * 16
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def sender(schema: str) -> Source:
    return Source(schema=schema, cluster_id=CLUSTER, data_plane_id=PLANE)


def stamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def event(meter, start, value, *, seconds=60, node="0", call_class=None, plane=PLANE, **over):
    end = start + timedelta(seconds=seconds)
    who = "cluster" if meter == "storage_bytes" else node
    source = f"/clusters/{plane}" + ("" if who == "cluster" else f"/nodes/{node}")
    data = {
        "cluster": plane,
        "node": who,
        "meter": meter,
        "window_start": stamp(start),
        "window_end": stamp(end),
        "value": value,
    }
    suffix = ""
    if call_class:
        data["class"] = call_class
        suffix = f":{call_class}"
    made = {
        "specversion": "1.0",
        "id": f"{plane}:{who}:{meter}:{stamp(start)}{suffix}",
        "source": source,
        "type": f"aerolith.usage.{meter}",
        "time": stamp(end),
        "data": data,
    }
    return {**made, **over}


def calls(start, value, **options):
    return event("api_calls", start, value, **{"call_class": "read", **options})


def storage(start, value, **options):
    return event("storage_bytes", start, value, **options)


def uptime(start, value=60, **options):
    return event("node_seconds", start, value, **options)
