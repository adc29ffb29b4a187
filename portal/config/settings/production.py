"""Settings behind a TLS proxy: everything by environment, nothing by default that is unsafe."""

from pathlib import Path

from portal.config.env import (
    archive_store_options,
    backup_store_options,
    database_from_url,
    env_bool,
    env_int,
    env_list,
    env_text,
    mailers_from_url,
)
from portal.config.settings.base import *
from portal.config.settings.base import BASE_DIR, services_by_valkey

SECRET_KEY = env_text("SECRET_KEY")
SEAL_KEY = env_text("SEAL_KEY")
AEROLITH_HOME = Path(env_text("AEROLITH_HOME", str(BASE_DIR / ".aerolith"))).absolute()
AEROLITH_PORT = env_int("AEROLITH_PORT", default=8000, minimum=1)
DATABASES = {"default": database_from_url(env_text("DATABASE_URL"))}
VALKEY_URL = env_text("VALKEY_URL")
globals().update(services_by_valkey(VALKEY_URL))

CLUSTER_PROFILE = "production"
PORTAL_URL = env_text("PORTAL_URL").rstrip("/")
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS", PORTAL_URL)
SESSION_COOKIE_NAME = "__Host-aerolith_session"
CSRF_COOKIE_NAME = "__Host-aerolith_csrf"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
SECURE_SSL_REDIRECT = env_bool("SECURE_SSL_REDIRECT", default=True)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
DEFAULT_FROM_EMAIL = env_text("DEFAULT_FROM_EMAIL")
MAILERS = mailers_from_url(env_text("EMAIL_URL"))
BACKUP_WORK_DIR = AEROLITH_HOME / "backup-work"
BACKUP_STORE_URL = env_text("BACKUP_STORE_URL", (AEROLITH_HOME / "backups").as_uri())
BACKUP_STORE_OPTIONS = backup_store_options()
ARCHIVE_STORE_URL = env_text("ARCHIVE_STORE_URL", "")
ARCHIVE_STORE_OPTIONS = archive_store_options()
STATIC_ROOT = Path(env_text("STATIC_ROOT", str(BASE_DIR / "staticfiles")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
