"""Typed readers of the environment that fail loudly on a bad value."""

import os
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

TRUE_WORDS = {"1", "true", "yes", "on"}
FALSE_WORDS = {"0", "false", "no", "off"}
POSTGRES_PORT = 5432


def env_text(name: str, default: str | None = None) -> str:
    """Return the variable, or the content of the file that NAME_FILE points to, or the default."""
    if (path := os.environ.get(f"{name}_FILE")) is not None:
        try:
            return Path(path).read_text().strip()
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE can not be read: {error}") from error
    value = os.environ.get(name, default)
    if value is None:
        raise ImproperlyConfigured(f"{name} must be set")
    return value


def env_bool(name: str, *, default: bool) -> bool:
    """Return a truth value."""
    word = env_text(name, "true" if default else "false").strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ImproperlyConfigured(f"{name} is {word!r}; use one of true, false")


def env_int(name: str, *, default: int, minimum: int = 0) -> int:
    """Return a whole number of at least `minimum`."""
    word = env_text(name, str(default))
    try:
        value = int(word)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is {word!r}; use a whole number") from error
    if value < minimum:
        raise ImproperlyConfigured(f"{name} is {value}; the least is {minimum}")
    return value


def env_list(name: str, default: str = "") -> list[str]:
    """Return the comma-separated parts."""
    return [part.strip() for part in env_text(name, default).split(",") if part.strip()]


def database_from_url(url: str) -> dict[str, object]:
    """Translate a postgresql:// URL to Django's settings."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ImproperlyConfigured("DATABASE_URL must start with postgresql://")
    try:
        port = parts.port or POSTGRES_PORT
    except ValueError:
        # Not quoted: what looks like the port is a part of the password.
        text = "DATABASE_URL has no port where it belongs; write special characters as %XX"
        raise ImproperlyConfigured(text) from None
    return {
        "ENGINE": "portal.core.postgres",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(port),
        "OPTIONS": {"server_side_binding": True, **dict(parse_qsl(parts.query))},
        "CONN_MAX_AGE": env_int("DATABASE_CONN_MAX_AGE", default=60),
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }


def mailers_from_url(url: str) -> dict[str, dict[str, object]]:
    """Translate smtp://, smtps:// or smtp+tls:// to Django's MAILERS."""
    parts = urlsplit(url)
    if parts.scheme not in {"smtp", "smtps", "smtp+tls"}:
        raise ImproperlyConfigured("EMAIL_URL must start with smtp://, smtps:// or smtp+tls://")
    default_port = {"smtp": 25, "smtps": 465, "smtp+tls": 587}[parts.scheme]
    options: dict[str, object] = {
        "host": parts.hostname or "localhost",
        "port": parts.port or default_port,
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "use_ssl": parts.scheme == "smtps",
        "use_tls": parts.scheme == "smtp+tls",
        "timeout": 10,
    }
    return {
        "default": {
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": options,
        }
    }


def backup_store_options() -> dict[str, str]:
    """Return how an S3-compatible store of backups is reached; empty for a directory."""
    return _store_options("BACKUP_STORE")


def archive_store_options() -> dict[str, str]:
    """Return how nodes reach an S3-compatible store of archives; empty for a directory."""
    return _store_options("ARCHIVE_STORE")


def _store_options(prefix: str) -> dict[str, str]:
    options = ("endpoint", "region", "access_key_id", "secret_access_key")
    found = {option: env_text(f"{prefix}_{option.upper()}", "") for option in options}
    return {option: value for option, value in found.items() if value}
