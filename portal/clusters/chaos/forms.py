"""What the form of the page Chaos sends."""

from collections.abc import Mapping

from portal.core.errors import Invalid

FIELD = "node-"


def faults_of(posted: Mapping[str, str]) -> dict[int, str]:
    """Return the fault chosen for each node; nodes without one are left out.

    Raises:
        Invalid: a field names no node.
    """
    chosen: dict[int, str] = {}
    for name, behaviour in posted.items():
        if not name.startswith(FIELD) or not behaviour:
            continue
        text = name.removeprefix(FIELD)
        if not (text.isascii() and text.isdigit() and len(text) <= 5):
            detail = "A node has a number."
            raise Invalid(errors=[{"pointer": "/faults", "detail": detail}])
        chosen[int(text)] = behaviour
    return chosen
