"""Compliance modes: which are on, what each enforces, what turning one on would change."""

from typing import Any

import msgspec

from dataplane.documents.audit_commands import CompliancePut
from dataplane.documents.values import SYSTEM_COLLECTIONS
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem, error_fields
from dataplane.gateways.rest.cluster import ordered
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import idempotency_of, struct_of
from dataplane.gateways.rest.responses import json_response
from dataplane.wire.audit import LEVELS
from dataplane.wire.compliance import MODES, code_of


class ModesBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT /compliance; `sig` (base64) is needed to turn a mode off."""

    modes: tuple[str, ...]
    revision: int | None = None
    sig: bytes = b""
    dry_run: bool = False


async def compliance_show(context: Context, _request: Request, caller: Caller) -> Response:
    """GET the modes that are on, and of each mode what it enforces and would change."""
    caller.require("cluster:read")
    row = context.state.view.compliance.row
    body = {
        "modes": row.modes,
        "revision": row.revision,
        "catalogue": {
            mode: {**msgspec.structs.asdict(rules), "is_on": mode in row.modes}
            | assessment(context, (mode,))
            for mode, rules in MODES.items()
        },
    }
    return json_response(body, 200, context.position(context.cluster.executed))


async def compliance_put(context: Context, request: Request, caller: Caller) -> Response:
    """PUT which modes are on; with `dry_run` say only what that would change."""
    caller.require("cluster:admin")
    body = struct_of(request, ModesBody)
    modes, row = tuple(sorted(set(body.modes))), context.state.view.compliance.row
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown:
        fault = ("/modes", f"some of {', '.join(MODES)}")
        raise Problem("invalid", f"there is no mode {unknown[0]}", error_fields((fault,)))
    found = assessment(context, modes)
    if body.dry_run:
        answer = {"modes": modes, "off": sorted(set(row.modes) - set(modes)), **found}
        return json_response(answer, 200, context.position(context.cluster.executed))
    _require_encryption(context, [mode for mode in modes if mode not in row.modes])
    revision = row.revision if body.revision is None else body.revision
    op = CompliancePut(modes, revision, body.sig, idempotency_of(request, caller))
    _, sequence = await ordered(context, op)
    now = context.state.view.compliance.row
    answer = {"modes": now.modes, "revision": now.revision, **found}
    return json_response(answer, 200, context.position(sequence))


def _require_encryption(context: Context, modes: list[str]) -> None:
    """Refuse to turn on what needs encryption where this node writes in the clear."""
    for mode in modes:
        if MODES[mode].needs_encryption and not context.encryption.describe()["enabled"]:
            raise Problem(
                code_of(mode), f"{mode}: nodes must encrypt their disks; this one does not"
            )


def assessment(context: Context, modes: tuple[str, ...]) -> dict[str, Any]:
    """Return what modes would change, and what they find that they do not change by themselves."""
    view, rules = context.state.view, [MODES[mode] for mode in modes]
    ends, now_ms = view.audit.ends, view.stats().now_ms
    level = max([ends.level, *[rule.level for rule in rules]], key=LEVELS.index)
    retention_ms = max([ends.retention_ms, *[rule.retention_ms for rule in rules]])
    wanted = {"level": (ends.level, level), "retention_ms": (ends.retention_ms, retention_ms)}
    lifetime_ms = min([rule.key_lifetime_ms for rule in rules], default=None)
    fields = view.erasing.fields()
    unnamed = [
        record.name
        for record in view.collections()
        if record.name not in fields and record.name not in SYSTEM_COLLECTIONS
    ]
    return {
        "changes": [
            {"setting": name, "from": old, "to": new}
            for name, (old, new) in wanted.items()
            if old != new
        ],
        "keys_that_live_longer": [
            record.id
            for record in view.keys()  # noqa: SIM118 - not a mapping
            if lifetime_ms is not None
            and (record.expires_ms is None or record.expires_ms > now_ms + lifetime_ms)
        ],
        "collections_that_name_nobody": (
            unnamed if any(rule.keeps_subjects for rule in rules) else []
        ),
        "encryption": {
            "is_needed": any(rule.needs_encryption for rule in rules),
            "this_node": context.encryption.describe()["enabled"],
        },
    }
