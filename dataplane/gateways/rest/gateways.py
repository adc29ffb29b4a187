"""Where clients reach the members, and how a node shows that it is one of them."""

from typing import Any, Final

import msgspec

from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.responses import json_response
from dataplane.wire.proofs import EPOCH_CHANGES_MAX, NONCE_BYTES, identity_payload

_DIGITS_MAX: Final = 18


async def gateways_list(context: Context, request: Request, _caller: Caller) -> Response:
    """GET the epoch and the address of every member: any valid key may, whatever its scopes.

    With `?epoch=` the answer has what proves who came after the members of that epoch.
    """
    status = context.cluster.status()
    body: dict[str, Any] = {
        "epoch": status.epoch,
        "gateways": [{"id": member.id, "url": member.address} for member in status.members],
    }
    text = request.query.get("epoch")
    if text is not None:
        if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS_MAX:
            raise _invalid("epoch", "a whole number from 0")
        changes = context.cluster.epoch_changes[int(text) :][:EPOCH_CHANGES_MAX]
        body["changes"] = msgspec.to_builtins(changes)
    return json_response(body, 200, context.position(status.sequence))


def identity(context: Context, request: Request) -> Response:
    """Sign the reader's nonce and the own address, for readers who show no key to strangers.

    Raises:
        Problem: `invalid`.
    """
    text = request.query.get("nonce", "")
    try:
        nonce = bytes.fromhex(text)
    except ValueError as error:
        raise _invalid("nonce", "hexadecimal digits") from error
    if len(nonce) != NONCE_BYTES:
        raise _invalid("nonce", f"{NONCE_BYTES} bytes")
    own, status = context.spec.node_id, context.cluster.status()
    known = (member.address for member in status.members if member.id == own)
    url = next(known, context.spec.me.url)
    payload = identity_payload(
        bytes.fromhex(context.spec.cluster_id), replica=own, url=url, nonce=nonce
    )
    return json_response({"id": own, "url": url, "signature": context.sign(payload).hex()})


def _invalid(name: str, what: str) -> Problem:
    fault = {"pointer": f"/{name}", "detail": what}
    return Problem("invalid", f"{name} is {what}", {"errors": [fault]})
