"""Short-lived tokens (JWT, EdDSA) of issuers that the replicated state knows.

A token is good at every node for a few minutes, without a record of its own. Its issuer is one of
the keys of the cluster: taking that away ends all its tokens at once, a revocation ends one.
"""

from typing import Annotated, Final

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dataplane.documents.keys import ISSUER
from dataplane.documents.types import KeyRecord
from dataplane.documents.view import StateView
from dataplane.gateways.errors import Problem

ALGORITHM: Final = "EdDSA"
LIFETIME_S_MAX: Final = 3_600
SKEW_S: Final = 60
TOKEN_BYTES_MAX: Final = 8_192
REMEMBERED_MAX: Final = 1_024
PREFIX: Final = "jwt:"
"""Of what stands for a key's id: keys have none with such a sign."""


type Text = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
type Name = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9]{1,128}\Z")]
"""What can be the id of a record, so that the token can be revoked."""
type Second = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class Claims(msgspec.Struct, frozen=True):
    """What a token says."""

    sub: Text
    org: Text
    jti: Name
    iat: Second
    exp: Second
    scopes: tuple[Text, ...]
    collections: tuple[Text, ...] = ("*",)
    nbf: Second = 0


class Token(msgspec.Struct, frozen=True):
    """A token whose signature is good, and who signed it."""

    issuer: KeyRecord
    claims: Claims

    @property
    def record(self) -> KeyRecord:
        """The key that the token stands for: never more than its issuer may give."""
        claims = self.claims
        scopes = tuple([scope for scope in claims.scopes if scope in self.issuer.scopes])
        return KeyRecord(
            PREFIX + claims.sub,
            b"",
            claims.sub,
            scopes,
            claims.collections,
            claims.exp * 1000,
            claims.iat * 1_000_000,
            self.issuer.requests_per_s,
        )


class InvalidTokenError(Exception):
    """A token that is not good, for whatever reason."""


class Tokens:
    """Reads tokens; those whose signature was checked lately are remembered."""

    def __init__(self, cluster_id: str, organization: str) -> None:
        self._cluster_id = cluster_id
        self._organization = organization
        self._known: dict[str, Token] = {}

    def read(self, text: str, view: StateView, now_ms: int) -> Token:
        """Return a token that is good now.

        Raises:
            InvalidTokenError: It is not.
            Problem: `forbidden`: it is of another organization.
        """
        token = self._known.pop(text, None)
        if token is None or view.key(token.issuer.id) is not token.issuer:
            token = self._verified(text, view)
            if len(self._known) >= REMEMBERED_MAX:
                del self._known[next(iter(self._known))]
        self._known[text] = token
        check(token, view, now_ms)
        if token.claims.org != self._organization:
            raise Problem("forbidden", "the token is of another organization")
        return token

    def _verified(self, text: str, view: StateView) -> Token:
        if len(text) > TOKEN_BYTES_MAX:
            raise InvalidTokenError
        try:
            kid = jwt.get_unverified_header(text).get("kid")
            issuer = view.key(kid) if isinstance(kid, str) else None
            if issuer is None or issuer.kind != ISSUER:
                raise InvalidTokenError
            given = jwt.decode(
                text,
                Ed25519PublicKey.from_public_bytes(issuer.hash),
                algorithms=[ALGORITHM],
                audience=self._cluster_id,
                # Times are checked each time, by this node's clock and the agreed one.
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
            return Token(issuer, msgspec.convert(given, Claims))
        except (jwt.PyJWTError, msgspec.ValidationError, ValueError) as error:
            raise InvalidTokenError from error


def check(token: Token, view: StateView, now_ms: int) -> None:
    """Check what may change while a token is good.

    Raises:
        InvalidTokenError: It has expired, was revoked, or its issuer was.
    """
    claims, now_s = token.claims, max(now_ms, view.stats().now_ms) / 1000
    issuer = view.key(token.issuer.id)
    if (
        issuer is None
        or (issuer.kind, issuer.hash) != (ISSUER, token.issuer.hash)
        or (issuer.expires_ms is not None and issuer.expires_ms <= now_s * 1000)
        or not max(claims.iat, claims.nbf) - SKEW_S <= now_s < claims.exp
        or claims.exp - claims.iat > LIFETIME_S_MAX
        or view.key(claims.jti) is not None
    ):
        raise InvalidTokenError
