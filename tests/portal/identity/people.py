"""Second factors of people in tests."""

from datetime import datetime, timedelta

from portal.accounts.models import User
from portal.core import clock
from portal.identity.models import TotpDevice
from portal.identity.services import totp_begin, totp_confirm, totp_key
from portal.identity.totp import code_at
from tests.conftest import PASSWORD


def app_of(user: User) -> TotpDevice:
    """Set up an authenticator app a minute ago, so that its present code is still good."""
    device = totp_begin(user)
    with clock.frozen(clock.now() - timedelta(minutes=1)):
        totp_confirm(user, code=code_of(device), name="Phone")
    device.refresh_from_db()
    return device


def code_of(device: TotpDevice, moment: datetime | None = None) -> str:
    return code_at(totp_key(device), moment or clock.now())


def sign_in(client, user: User, **more):
    return client.post("/login/", {"email": user.email, "password": PASSWORD, **more})
