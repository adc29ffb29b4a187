"""Who calls, and whether the key allows it: every request, on every node."""

import hashlib
import hmac
from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from dataplane.client.keys import key_id_of
from dataplane.documents.types import KeyRecord
from dataplane.documents.view import StateView
from dataplane.gateways.errors import Problem
from dataplane.gateways.tokens import InvalidTokenError, Token, Tokens, check

_REALM = (("WWW-Authenticate", 'Bearer realm="aerolith"'),)

CALLING: Final[ContextVar[str | None]] = ContextVar("calling", default=None)
"""The id of the key whose request this task serves: what it orders is attributed to it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated key, or a token that stands for one."""

    key: KeyRecord
    token: Token | None = None

    def require(self, scope: str, collection: str | None = None) -> None:
        """Refuse unless the key has the scope, and covers the collection when one is named.

        Raises:
            Problem: `forbidden`.
        """
        if scope not in self.key.scopes:
            raise Problem("forbidden", f"the key lacks the scope {scope}", {"scope": scope})
        if collection is not None and not self.covers(collection):
            raise Problem("forbidden", f"the key does not cover the collection {collection}")

    def may(self, scope: str, collection: str) -> bool:
        """Whether the key has the scope for a collection."""
        return scope in self.key.scopes and self.covers(collection)

    @property
    def covers_all(self) -> bool:
        """Whether there is no collection that the key, or its issuer, does not cover."""
        return all("*" in patterns for patterns in self._patterns)

    def covers(self, collection: str) -> bool:
        """Whether one of the key's patterns matches the collection, and its issuer's do."""
        return all(_covers(patterns, collection) for patterns in self._patterns)

    @property
    def _patterns(self) -> tuple[tuple[str, ...], ...]:
        own = self.key.collections
        return (own,) if self.token is None else (own, self.token.issuer.collections)


def _covers(patterns: tuple[str, ...], collection: str) -> bool:
    return "*" in patterns or any(fnmatchcase(collection, pattern) for pattern in patterns)


def authenticate(
    authorization: str | None, view: StateView, now_ms: int, *, tokens: Tokens
) -> Caller:
    """Return the caller of a bearer token.

    What its task orders from here on is attributed to it in the audit log.

    Raises:
        Problem: `unauthenticated`; which of the reasons it was is not told. `forbidden` for a good
            token of another organization.
    """
    CALLING.set(None)
    scheme, _, text = (authorization or "").partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer":
        raise _stranger()
    key_id = key_id_of(text)
    if key_id is None and text.count(".") == 2:
        try:
            token = tokens.read(text, view, now_ms)
        except InvalidTokenError as error:
            raise _stranger() from error
        CALLING.set(token.record.id)
        return Caller(token.record, token)
    record = view.key(key_id) if key_id is not None else None
    digest = hashlib.sha256(text.encode()).digest()
    if record is None or record.kind != "key" or not hmac.compare_digest(record.hash, digest):
        raise _stranger()
    if _has_expired(record, view, now_ms):
        raise _stranger()
    CALLING.set(record.id)
    return Caller(record)


def _stranger() -> Problem:
    return Problem("unauthenticated", "the token is missing or not valid", headers=_REALM)


def renew(caller: Caller, view: StateView, now_ms: int) -> Caller:
    """Return the caller as the key is now: what lasts is checked again and again.

    Raises:
        Problem: `unauthenticated`.
    """
    if caller.token is not None:
        try:
            check(caller.token, view, now_ms)
        except InvalidTokenError as error:
            detail = "the token has expired or was revoked"
            raise Problem("unauthenticated", detail, headers=_REALM) from error
        issuer = view.key(caller.token.issuer.id)
        if issuer is None or issuer is caller.token.issuer:
            return caller
        token = Token(issuer, caller.token.claims)
        return Caller(token.record, token)
    record = view.key(caller.key.id)
    if record is None or record.hash != caller.key.hash:
        raise Problem("unauthenticated", "the key was revoked", headers=_REALM)
    if _has_expired(record, view, now_ms):
        raise Problem("unauthenticated", "the key has expired", headers=_REALM)
    return caller if record is caller.key else Caller(record)


def _has_expired(record: KeyRecord, view: StateView, now_ms: int) -> bool:
    at_ms = record.expires_ms
    return at_ms is not None and at_ms <= max(now_ms, view.stats().now_ms)
