"""What the pages' script asks for: challenges, and judging the answers to them."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from portal.accounts.models import User
from portal.accounts.views import HOUR, wished_path
from portal.core.errors import Invalid, NotFound
from portal.core.throttling import limit_by_address
from portal.identity import passkeys
from portal.identity.constants import CREDENTIAL_SIZE_MAX
from portal.identity.passkeys import Purpose
from portal.identity.signin import pending_of, sign_in_begin, sign_in_finish
from portal.identity.stepup import confirmation_add, factor_note, require_recent

CHALLENGES_PER_HOUR = 600
ACTION = "account.factors"


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _options(text: str) -> HttpResponse:
    return HttpResponse(text, content_type="application/json")


def _credential(request: HttpRequest) -> passkeys.Credential:
    if len(request.body) > CREDENTIAL_SIZE_MAX:
        raise Invalid("This is longer than any answer of a browser.")
    return passkeys.credential_of(request.body)


@never_cache
@login_required
@require_POST
def add_begin(request: HttpRequest) -> HttpResponse:
    """Offer to make a key."""
    require_recent(request, action=ACTION)
    return _options(passkeys.add_begin(request, _user(request)))


@never_cache
@login_required
@require_POST
def add_finish(request: HttpRequest) -> HttpResponse:
    """Keep it; the answer holds new recovery codes, if there were none."""
    require_recent(request, action=ACTION)
    credential = _credential(request)
    name = str(credential.pop("name", ""))
    codes = passkeys.add_finish(request, _user(request), credential, name)
    factor_note(request, "passkey")
    return JsonResponse({"codes": codes})


def _asked(request: HttpRequest, purpose: Purpose) -> User | None:
    """Return whose key is asked for; None if anybody's will do.

    Raises:
        NotFound: nobody is there to be asked.
    """
    if purpose is Purpose.LOGIN:
        return None
    if purpose is Purpose.CONFIRM and isinstance(request.user, User):
        return request.user
    pending = pending_of(request) if purpose is Purpose.FACTOR else None
    if pending is None or pending.must_enrol:
        raise NotFound
    return pending.user


@never_cache
@require_POST
def ask_begin(request: HttpRequest, purpose: str) -> HttpResponse:
    """Ask for a signature."""
    limit_by_address(request, "passkey", most=CHALLENGES_PER_HOUR, window_s=HOUR)
    why = Purpose(purpose)
    return _options(passkeys.ask_begin(request, why, _asked(request, why)))


@never_cache
@require_POST
def ask_finish(request: HttpRequest, purpose: str) -> HttpResponse:
    """Judge it, and say where to go."""
    limit_by_address(request, "passkey", most=CHALLENGES_PER_HOUR, window_s=HOUR)
    why = Purpose(purpose)
    asked = _asked(request, why)
    user = passkeys.ask_finish(request, why, asked, _credential(request))
    if why is Purpose.CONFIRM:
        confirmation_add(request)
        return JsonResponse({"location": wished_path(request) or "/account/"})
    pending = pending_of(request)
    if why is Purpose.FACTOR and pending is not None:
        answer = sign_in_finish(request, pending, factor="passkey")
    else:
        answer = sign_in_begin(
            request, user, method="passkey", next_path=wished_path(request), is_strong=True
        )
    return JsonResponse({"location": answer["Location"]})
