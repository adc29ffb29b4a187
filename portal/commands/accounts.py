"""The accounts that a fresh installation has: an operator, and the owner of the demonstration."""

from portal.accounts.models import User
from portal.commands.state import State
from portal.core import clock
from portal.core.tenancy import public_context

DEMO_SLUG = "demo"


def operator_ensure(state: State) -> User:
    """Make the operator whose password is remembered in the state file."""
    return _user_ensure(
        email=state.operator_email, password=state.operator_password, name="Operator", is_staff=True
    )


def demo_user_ensure(state: State) -> User:
    """Make the owner of the demonstration."""
    return _user_ensure(
        email=state.demo_email, password=state.demo_password, name="Demo", is_staff=False
    )


def _user_ensure(*, email: str, password: str, name: str, is_staff: bool) -> User:
    with public_context():
        found = User.objects.filter(email=email).first()
        if found is not None:
            return found
        fields = {"name": name, "email_confirmed_at": clock.now()}
        if is_staff:
            return User.objects.create_superuser(email, password, **fields)
        return User.objects.create_user(email, password, **fields)
