"""Settings of the tests: the real engines, given by DATABASE_URL and VALKEY_URL."""

import tempfile
from pathlib import Path

from portal.config.env import (
    archive_store_options,
    backup_store_options,
    database_from_url,
    env_text,
)
from portal.config.settings.base import *
from portal.config.settings.base import services_by_valkey

SECRET_KEY = "tests-only-" + "0" * 40
SEAL_KEY = "tests-only-seal"
AEROLITH_HOME = Path(env_text("AEROLITH_HOME", str(Path(tempfile.gettempdir()) / "aerolith-tests")))
AEROLITH_PORT = 8000
DATABASES = {
    "default": database_from_url(
        env_text("DATABASE_URL", "postgresql://aerolith@127.0.0.1:1/given-by-the-fixtures")
    )
}
BACKUP_WORK_DIR = AEROLITH_HOME / "backup-work"
BACKUP_STORE_URL = env_text("BACKUP_STORE_URL", (AEROLITH_HOME / "backups").as_uri())
BACKUP_STORE_OPTIONS = backup_store_options()
ARCHIVE_STORE_URL = env_text("ARCHIVE_STORE_URL", "")
ARCHIVE_STORE_OPTIONS = archive_store_options()
VALKEY_URL = env_text("VALKEY_URL", "redis://127.0.0.1:1/0")
globals().update(services_by_valkey(VALKEY_URL))
PORTAL_URL = "http://testserver"
INTERNAL_URL = PORTAL_URL
ALLOWED_HOSTS = ["testserver", "127.0.0.1", "localhost"]
MAILERS = {"default": {"BACKEND": "portal.notifications.mailbox.MailboxBackend"}}
MAILBOX_ENABLED = True
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
# Cheap hashing: the strength of argon2 is not what the tests are about.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
