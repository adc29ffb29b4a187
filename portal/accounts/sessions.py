"""Sessions in the database that know whose they are, so that their owner can end them."""

from datetime import datetime
from typing import Any, override
from uuid import UUID

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore

from portal.accounts.models import UserSession

ADDRESS_KEY = "address"
AGENT_KEY = "agent"
SIGNED_IN_KEY = "signed_in_at"


class SessionStore(DatabaseSessionStore):
    """Copies owner, address and browser from the session's data to columns."""

    @classmethod
    @override
    def get_model_class(cls) -> type[UserSession]:
        return UserSession

    @override
    def create_model_instance(self, data: dict[str, Any]) -> UserSession:
        row: UserSession = super().create_model_instance(data)  # type: ignore[assignment]  # the base names its own model.
        owner = data.get(SESSION_KEY)
        row.user_id = UUID(str(owner)) if owner else None
        row.address = data.get(ADDRESS_KEY)
        row.agent = str(data.get(AGENT_KEY, ""))[:200]
        signed_in = data.get(SIGNED_IN_KEY)
        row.signed_in_at = datetime.fromisoformat(signed_in) if signed_in else None
        return row
