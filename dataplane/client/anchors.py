"""Whom a reader trusts: the public keys of a cluster's replicas, kept in a file.

The file must come over another way than the answers that are checked with it: from the portal, or
from the specification of the cluster.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

import msgspec
from nacl import bindings
from nacl.exceptions import BadSignatureError

from dataplane.client.errors import AnchorError, ProofError
from dataplane.client.spec import MEMBERS_MAX, PUBLIC_KEY_HEX, NodeSpec
from dataplane.wire.proofs import EPOCH_CHANGES_MAX, EpochChange, Validator, Votes
from dataplane.wire.proofs import epoch_change_payload as change_payload
from dataplane.wire.quorum import quorum_size

ANCHOR_BYTES_MAX: Final = 64 * 1024
_CLUSTER_ID_HEX: Final = 32
_NUMBER_MAX: Final = 2**63 - 1


class TrustAnchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The validators of one epoch of one cluster; later epochs are reached by `EpochChange`s."""

    cluster_id: str
    epoch: int
    validators: tuple[Validator, ...]
    version: int = 1

    @classmethod
    def of_keys(cls, cluster_id: str, epoch: int, keys: Iterable[tuple[int, str]]) -> Self:
        """Return the anchor of replicas by id and public key (hex).

        Raises:
            AnchorError: Something of it is wrong.
        """
        anchor = cls(cluster_id, epoch, tuple(Validator(*key) for key in keys))
        check_anchor(anchor)
        return anchor

    @classmethod
    def of_spec(cls, spec: NodeSpec) -> Self:
        """Return the anchor in a node's specification."""
        keys = [(member.id, member.public_key) for member in spec.members]
        return cls.of_keys(spec.cluster_id, spec.epoch, keys)

    @property
    def quorum(self) -> int:
        """How many distinct validators make a certificate."""
        return quorum_size(len(self.validators))

    def public_key(self, replica: int) -> bytes | None:
        """Return a validator's key, None for a stranger."""
        for validator in self.validators:
            if validator.id == replica:
                return bytes.fromhex(validator.public_key)
        return None


def check_anchor(anchor: TrustAnchor) -> None:
    """Check what the types do not say.

    Raises:
        AnchorError: Names the first thing that is wrong.
    """
    if anchor.version != 1:
        raise AnchorError(f"version {anchor.version} of a trust anchor is not known")
    if not _is_hex(anchor.cluster_id, _CLUSTER_ID_HEX):
        raise AnchorError(f"cluster_id must be {_CLUSTER_ID_HEX} lower-case hex digits")
    if not 0 <= anchor.epoch <= _NUMBER_MAX:
        raise AnchorError("epoch must be a number from 0")
    fault = validators_fault(anchor.validators)
    if fault is not None:
        raise AnchorError(fault)


def validators_fault(validators: tuple[Validator, ...]) -> str | None:
    """Return what is wrong with a set of validators, None when nothing is."""
    ids = [validator.id for validator in validators]
    if not ids or len(ids) > MEMBERS_MAX or ids != sorted(set(ids)) or not ids[0] >= 0:
        return f"validators must be 1 to {MEMBERS_MAX} with distinct ids in rising order"
    if ids[-1] > _NUMBER_MAX:
        return "the id of a validator is out of range"
    keys = [validator.public_key for validator in validators]
    if not all(_is_hex(key, PUBLIC_KEY_HEX) for key in keys):
        return f"every validator needs a public key of {PUBLIC_KEY_HEX} lower-case hex digits"
    if len(set(keys)) != len(keys):
        # One key under two ids would sign twice.
        return "two validators have the same public key"
    return None


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and all(char in "0123456789abcdef" for char in text)


def load_anchor(data: bytes) -> TrustAnchor:
    """Read an anchor from JSON.

    Raises:
        AnchorError: It is too large, not JSON or wrong; says which.
    """
    if len(data) > ANCHOR_BYTES_MAX:
        raise AnchorError(f"a trust anchor has at most {ANCHOR_BYTES_MAX} bytes")
    try:
        anchor = msgspec.json.decode(data, type=TrustAnchor)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AnchorError(f"not a trust anchor: {error}") from error
    check_anchor(anchor)
    return anchor


def load_anchor_file(path: Path) -> TrustAnchor:
    """Read an anchor file.

    Raises:
        AnchorError: It cannot be read or used; says why.
    """
    try:
        with path.open("rb") as file:
            data = file.read(ANCHOR_BYTES_MAX + 1)
    except OSError as error:
        raise AnchorError(f"cannot read {path.name}: {error.strerror}") from error
    return load_anchor(data)


def dump_anchor(anchor: TrustAnchor) -> bytes:
    """Return the anchor as readable JSON."""
    return msgspec.json.format(msgspec.json.encode(anchor), indent=2) + b"\n"


def require_quorum(anchor: TrustAnchor, payload: bytes, votes: Votes, what: str) -> None:
    """Check that a quorum of distinct validators signed a payload, and nobody else did.

    Raises:
        ProofError: `duplicate_signer`, `not_enough_signers`, `unknown_signer` or `bad_signature`.
    """
    signers = [replica for replica, _ in votes]
    if len(set(signers)) != len(signers):
        raise ProofError("duplicate_signer", f"a replica signed {what} more than once")
    if len(signers) < anchor.quorum:
        raise ProofError(
            "not_enough_signers",
            f"{len(signers)} signed {what}; a quorum of {len(anchor.validators)} is "
            f"{anchor.quorum}",
        )
    for replica, signature in votes:
        key = anchor.public_key(replica)
        if key is None:
            raise ProofError("unknown_signer", f"{replica} is no validator of {what}")
        if not is_signed(key, payload, signature):
            raise ProofError("bad_signature", f"the signature of {replica} under {what} is wrong")


def is_signed(public_key: bytes, payload: bytes, signature: bytes) -> bool:
    """Return whether a signature (Ed25519) is the key's for the payload."""
    if len(signature) != bindings.crypto_sign_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + payload, public_key)
    except BadSignatureError:
        return False
    return True


def follow(anchor: TrustAnchor, changes: tuple[EpochChange, ...]) -> TrustAnchor:
    """Return the anchor after changes of epoch, each signed by a quorum of the epoch it ends.

    Changes of epochs before the anchor's are passed over: they prove nothing to who trusts a later
    one.

    Raises:
        ProofError: `bad_change` or a fault of its signatures.
    """
    if len(changes) > EPOCH_CHANGES_MAX:
        raise ProofError("bad_change", f"more than {EPOCH_CHANGES_MAX} changes of epoch")
    sequence = 0
    for change in changes:
        if change.epoch < anchor.epoch:
            continue
        if change.epoch != anchor.epoch or not sequence < change.sequence <= _NUMBER_MAX:
            raise ProofError("bad_change", "the changes of epoch do not follow each other")
        fault = validators_fault(change.validators)
        if fault is not None:
            raise ProofError("bad_change", fault)
        payload = change_payload(bytes.fromhex(anchor.cluster_id), change)
        require_quorum(anchor, payload, change.votes, f"the end of epoch {change.epoch}")
        sequence = change.sequence
        anchor = TrustAnchor(anchor.cluster_id, change.epoch + 1, change.validators)
    return anchor
