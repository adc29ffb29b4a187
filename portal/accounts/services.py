"""Making and changing accounts, sessions and tokens."""

from datetime import datetime, timedelta
from uuid import UUID

from axes.utils import reset as lockout_end
from django.db import IntegrityError, transaction
from django.utils.crypto import constant_time_compare

from portal.accounts.errors import TooManyTokens
from portal.accounts.models import AccessToken, User, UserSession, email_normalize
from portal.accounts.tokens import SHOWN_LENGTH, token_hash, token_is_well_formed, token_new
from portal.core import clock, live
from portal.core.errors import Invalid
from portal.core.tenancy import public_context
from portal.organizations.models import Organization

TOKEN_COUNT_MAX = 100
NAME_LENGTH_MAX = 80
PROOF_LENGTH = 32
# Writing the time of each use would cost every call a write.
LAST_USED_GRAIN = timedelta(minutes=1)


def user_register(*, email: str, password: str, name: str = "") -> User | None:
    """Store an unconfirmed user; None when the address is known, which the caller must not tell.

    Nobody has proven an unconfirmed address: who signs up last replaces what was chosen before,
    or a stranger could wait with a password of theirs for the owner to confirm it.
    """
    with public_context(), transaction.atomic():
        address = email_normalize(email)
        known = User.objects.select_for_update().filter(email=address).first()
        if known is None:
            return User.objects.create_user(address, password, name=name.strip())
        if known.email_confirmed_at is not None or not known.is_active:
            # The same work as for a new address, so that the time tells nothing either.
            User().set_password(password)
            return None
        known.name = name.strip()
        known.set_password(password)
        known.save(update_fields=["name", "password"])
        return known


def user_confirm(*, user_id: UUID, proof: str) -> User | None:
    """Note that the address is the user's own; None if the proof is of another sign-up."""
    with public_context(), transaction.atomic():
        user = User.objects.select_for_update().filter(pk=user_id, is_active=True).first()
        if user is None or not constant_time_compare(proof, signup_proof(user)):
            return None
        if user.email_confirmed_at is None:
            user.email_confirmed_at = clock.now()
            user.save(update_fields=["email_confirmed_at"])
        return user


def signup_proof(user: User) -> str:
    """Return what ties a link to one sign-up: it changes with the password."""
    return token_hash(user.password)[:PROOF_LENGTH]


def user_change_email(*, user_id: UUID, old: str, email: str, proof: str) -> User | None:
    """Give a user another address; None if it is taken, or if anything changed since the asking."""
    with public_context(), transaction.atomic():
        user = (
            User.objects.select_for_update().filter(pk=user_id, email=old, is_active=True).first()
        )
        if user is None or not constant_time_compare(proof, email_proof(user)):
            return None
        user.email, user.email_confirmed_at = email_normalize(email), clock.now()
        try:
            with transaction.atomic():
                user.save(update_fields=["email", "email_confirmed_at"])
        except IntegrityError:
            return None
        return user


def email_proof(user: User) -> str:
    """Return what ties a link to the present address: it works once."""
    text = f"{user.email} {user.email_confirmed_at} {user.password}"
    return token_hash(text)[:PROOF_LENGTH]


def user_rename(*, user: User, name: str) -> None:
    """Give another display name."""
    user.name = " ".join(name.split())[:NAME_LENGTH_MAX]
    with public_context():
        user.save(update_fields=["name"])


def password_change(*, user: User, password: str, keep_session: str | None) -> None:
    """Set another password and end every other session, and a lockout by failed attempts."""
    with public_context(), transaction.atomic():
        lockout_end(username=user.email)
        user.set_password(password)
        user.save(update_fields=["password"])
        UserSession.objects.filter(user_id=user.pk).exclude(session_key=keep_session).delete()
        live.access_changed(user.pk)


def session_list(user: User) -> list[UserSession]:
    """Return the browsers that are signed in, newest first."""
    with public_context():
        return list(
            UserSession.objects.filter(user_id=user.pk, expire_date__gt=clock.now()).order_by(
                "-signed_in_at", "session_key"
            )
        )


def session_end(*, user: User, digest: str) -> bool:
    """End the session with this digest of its key; pages never show the key itself."""
    with public_context():
        for session in UserSession.objects.filter(user_id=user.pk):
            if token_hash(session.session_key)[:32] == digest:
                session.delete()
                live.access_changed(user.pk)
                return True
    return False


def sessions_end_others(*, user: User, keep_session: str | None) -> int:
    """End every session of the user but this one; return how many there were."""
    with public_context(), transaction.atomic():
        others = UserSession.objects.filter(user_id=user.pk, expire_date__gt=clock.now())
        count, _ = others.exclude(session_key=keep_session).delete()
        if count:
            live.access_changed(user.pk)
    return count


def token_create(
    *,
    user: User,
    organization: Organization | None = None,
    name: str,
    expires_at: datetime | None = None,
    scopes: list[str] | None = None,
) -> tuple[AccessToken, str]:
    """Make a token; the second part is the secret, which nobody can read again.

    Raises:
        Invalid: the name is empty or the expiry is past.
        TooManyTokens: the user has reached the limit.
    """
    name = " ".join(name.split())
    now = clock.now()
    if not name or len(name) > NAME_LENGTH_MAX:
        raise Invalid.at("/name", "Give a name of 1 to 80 characters.")
    if expires_at is not None and expires_at <= now:
        raise Invalid.at("/expires", "This time has passed.")
    secret = token_new()
    with public_context(), transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        if AccessToken.objects.filter(user=user, revoked_at=None).count() >= TOKEN_COUNT_MAX:
            raise TooManyTokens(f"One person can have {TOKEN_COUNT_MAX} tokens; revoke some.")
        token = AccessToken.objects.create(
            user=user,
            organization=organization,
            name=name,
            prefix=secret[:SHOWN_LENGTH],
            hash=token_hash(secret),
            scopes=scopes or [],
            created_at=now,
            expires_at=expires_at,
        )
    return token, secret


def token_revoke(*, user: User, token_id: UUID) -> AccessToken | None:
    """Make a token of this user useless at once; None if it is not theirs."""
    with public_context(), transaction.atomic():
        token = (
            AccessToken.objects.select_for_update()
            .filter(pk=token_id, user=user, revoked_at=None)
            .first()
        )
        if token is not None:
            token.revoked_at = clock.now()
            token.save(update_fields=["revoked_at"])
            live.access_changed(user.pk)
        return token


def token_list(*, user: User, organization: Organization | None = None) -> list[AccessToken]:
    """Return the user's tokens that work, newest first; of one organization if one is given."""
    with public_context():
        found = AccessToken.objects.filter(user=user, revoked_at=None).select_related(
            "organization"
        )
        if organization is not None:
            found = found.filter(organization=organization)
        return list(found.order_by("-pk"))


def token_authenticate(secret: str) -> AccessToken | None:
    """Return the token with its user if it is valid now; notes the use, at most once a minute."""
    if not token_is_well_formed(secret):
        return None
    now = clock.now()
    with public_context():
        token = AccessToken.objects.select_related("user").filter(hash=token_hash(secret)).first()
        if token is None or not token.is_valid(now) or not token.user.is_active:
            return None
        if token.last_used_at is None or now - token.last_used_at >= LAST_USED_GRAIN:
            AccessToken.objects.filter(pk=token.pk).update(last_used_at=now)
            token.last_used_at = now
    return token
