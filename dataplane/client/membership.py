"""Orders of the control plane that change a cluster's members; only it holds the key for them."""

import base64
from collections.abc import Iterable

from nacl import bindings

from dataplane.client.calls import Call
from dataplane.client.spec import MemberSpec
from dataplane.wire.compliance import modes_payload
from dataplane.wire.membership import Member, NextMembers, encode_next, order_payload


def public_key_of(seed: bytes) -> str:
    """Return the public key (hex) of a control plane's 32-byte seed."""
    public_key, _ = bindings.crypto_sign_seed_keypair(seed)
    return public_key.hex()


def reconfigure(cluster_id: str, *, epoch: int, members: Iterable[MemberSpec], seed: bytes) -> Call:
    """Return the call that makes `members` those of `epoch`, which must follow the present one.

    The answer is `{"epoch", "ends_at"}`: the present epoch and its last sequence. Added members
    must have caught up as learners before; nodes do not check that.
    """
    wanted = sorted(members, key=lambda member: member.id)
    order = encode_next(NextMembers(epoch, tuple(map(_member, wanted))))
    payload = order_payload(bytes.fromhex(cluster_id), order)
    _, secret_key = bindings.crypto_sign_seed_keypair(seed)
    signature = bindings.crypto_sign(payload, secret_key)[: bindings.crypto_sign_BYTES]
    body = {
        "order": base64.b64encode(order).decode(),
        "sig": base64.b64encode(signature).decode(),
    }
    return Call("PUT", "/api/v1/members", body, write=True)


def modes_put(cluster_id: str, *, revision: int, modes: Iterable[str], seed: bytes) -> Call:
    """Return the call that leaves these compliance modes on; turning one off needs the signature.

    `revision` is that of the present modes, so that the signature is good once.
    """
    wanted = tuple(sorted(set(modes)))
    payload = modes_payload(bytes.fromhex(cluster_id), revision, wanted)
    _, secret_key = bindings.crypto_sign_seed_keypair(seed)
    signature = bindings.crypto_sign(payload, secret_key)[: bindings.crypto_sign_BYTES]
    body = {
        "modes": list(wanted),
        "revision": revision,
        "sig": base64.b64encode(signature).decode(),
    }
    return Call("PUT", "/api/v1/compliance", body, write=True)


def _member(spec: MemberSpec) -> Member:
    return Member(
        spec.id,
        spec.host,
        spec.peer_port,
        spec.http_port,
        bytes.fromhex(spec.public_key),
        bytes.fromhex(spec.gateway_public_key),
    )
