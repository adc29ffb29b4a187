"""Settings of `manage.py up`: services on loopback, all state below AEROLITH_HOME."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

from portal.config.env import (
    archive_store_options,
    backup_store_options,
    database_from_url,
    env_bool,
    env_int,
    env_list,
    env_text,
)
from portal.config.env import mailers_from_url as _mailers_from_url
from portal.config.settings.base import *
from portal.config.settings.base import BASE_DIR, services_by_valkey

AEROLITH_HOME = Path(env_text("AEROLITH_HOME", str(BASE_DIR / ".aerolith"))).absolute()
AEROLITH_PORT = env_int("AEROLITH_PORT", default=8000, minimum=1)


def _state() -> dict[str, Any]:
    """Return what `up` wrote about the services it started, if it did."""
    try:
        found: dict[str, Any] = json.loads((AEROLITH_HOME / "state.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def _key() -> str:
    """Return the installation's secret, made on the first start and readable by us only."""
    if value := env_text("SECRET_KEY", ""):
        return value
    path = AEROLITH_HOME / "secret.key"
    AEROLITH_HOME.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(handle, "w") as file:
        value = secrets.token_urlsafe(48)
        file.write(value)
    return value


_found = _state()
SECRET_KEY = _key()
SEAL_KEY = env_text("SEAL_KEY", SECRET_KEY)
# Without `up` there is no database; the name in the refused connection then says what to do.
_nowhere = "postgresql://aerolith@127.0.0.1:1/run-manage-py-up-first"
DATABASES = {
    "default": database_from_url(env_text("DATABASE_URL", _found.get("database_url", _nowhere)))
}
VALKEY_URL = env_text("VALKEY_URL", _found.get("valkey_url", "redis://127.0.0.1:1/0"))
globals().update(services_by_valkey(VALKEY_URL))

# By name: passkeys are bound to one, and an address is none.
PORTAL_URL = env_text("PORTAL_URL", f"http://localhost:{AEROLITH_PORT}").rstrip("/")
# Nodes report here; they are on this machine, whatever name the world knows the portal by.
INTERNAL_URL = env_text("INTERNAL_URL", f"http://127.0.0.1:{AEROLITH_PORT}").rstrip("/")
USAGE_WINDOW_MS = env_int("USAGE_WINDOW_MS", default=10_000, minimum=1_000)
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env_bool(
    "COOKIES_SECURE", default=PORTAL_URL.startswith("https://")
)
# Cookies do not know ports: two checkouts side by side would log each other out.
SESSION_COOKIE_NAME = f"aerolith_session_{AEROLITH_PORT}"
CSRF_COOKIE_NAME = f"aerolith_csrf_{AEROLITH_PORT}"

WHITENOISE_USE_FINDERS = True
BACKUP_WORK_DIR = AEROLITH_HOME / "backup-work"
BACKUP_STORE_URL = env_text("BACKUP_STORE_URL", (AEROLITH_HOME / "backups").as_uri())
BACKUP_STORE_OPTIONS = backup_store_options()
ARCHIVE_STORE_URL = env_text("ARCHIVE_STORE_URL", (AEROLITH_HOME / "archive").as_uri())
ARCHIVE_STORE_OPTIONS = archive_store_options()
STATIC_ROOT = AEROLITH_HOME / "static"

_email_url = env_text("EMAIL_URL", "")
MAILBOX_ENABLED = not _email_url
MAILERS = (
    _mailers_from_url(_email_url)
    if _email_url
    else {"default": {"BACKEND": "portal.notifications.mailbox.MailboxBackend"}}
)
