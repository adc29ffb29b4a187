"""Settings that every environment shares."""

from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import django_stubs_ext
from django.urls import reverse_lazy
from django.utils.csp import CSP

from portal.config.env import env_int, env_text

# Lets models say `UUIDField[UUID, UUID]`, which the checker needs and Django does not know.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parents[3]

DEBUG = False
ROOT_URLCONF = "portal.config.urls"
ASGI_APPLICATION = "portal.config.asgi.application"
WSGI_APPLICATION = "portal.config.wsgi.application"
AUTH_USER_MODEL = "accounts.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False
SITE_NAME = "AerolithDB Cloud"


# Every model lives in exactly one of the two: the public schema, or each organization's own.
SHARED_APPS = [
    # Before django-tenants, whose commands it replaces.
    "portal.organizations",
    "django_tenants",
    "daphne",
    "unfold",
    "django.forms",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "axes",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "portal.core",
    "portal.notifications",
    "portal.accounts",
    "portal.identity",
    "portal.plans",
    "portal.metering.alarms",
    "portal.console",
    "portal.api",
    "portal.operators",
    "portal.commands",
]
TENANT_APPS = [
    "portal.audit",
    "portal.access",
    "portal.clusters",
    "portal.backups",
    "portal.monitoring",
    "portal.billing",
    "portal.metering",
    "portal.explorer",
]
INSTALLED_APPS = SHARED_APPS + TENANT_APPS

TENANT_MODEL = "organizations.Organization"
TENANT_DOMAIN_MODEL = "organizations.Domain"
TENANT_LIMIT_SET_CALLS = True
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
ORIGINAL_BACKEND = "django.db.backends.postgresql"

MIDDLEWARE = [
    "portal.core.http.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "portal.operators.middleware.OperatorsPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "portal.core.http.HealthMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "portal.core.http.ErrorMiddleware",
    "portal.operators.middleware.OperatorsFactorMiddleware",
    # Within: it answers people before that answers everybody.
    "portal.identity.middleware.StepUpMiddleware",
    "portal.access.middleware.TokenMiddleware",
    "portal.access.middleware.TenantMiddleware",
    # Within: who is no member any more is told nothing, not even what was answered before.
    "portal.api.idempotency.IdempotencyMiddleware",
    "axes.middleware.AxesMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.console.context.shell",
            ],
        },
    },
]
FORM_RENDERER = "portal.core.forms.TablerRenderer"

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]

# Sessions and sign-in.
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"
SESSION_ENGINE = "portal.accounts.sessions"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 14 * 24 * 3600
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "portal.core.http.csrf_failure"
PASSWORD_RESET_TIMEOUT = 3600
EMAIL_CONFIRM_TIMEOUT = timedelta(days=3)
INVITATION_TIMEOUT = timedelta(days=7)
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("email", "name")},
    },
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "portal.accounts.backends.EmailBackend",
]
AXES_FAILURE_LIMIT = 8
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_USERNAME_FORM_FIELD = "username"
AXES_RESET_ON_SUCCESS = True
AXES_HTTP_RESPONSE_CODE = 429
AXES_LOCKOUT_CALLABLE = "portal.accounts.views.locked_out"
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False
AXES_CLIENT_IP_CALLABLE = "portal.core.http.client_ip"

# How many proxies of our own stand in front; their X-Forwarded-For entries are believed.
TRUSTED_PROXY_COUNT = env_int("TRUSTED_PROXY_COUNT", default=0)

# Security headers.
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SECURE_CSP = {
    "default-src": [CSP.NONE],
    "script-src": [CSP.SELF],
    "style-src": [CSP.SELF],
    # Tabler's stylesheet carries its small icons as data: images.
    "img-src": [CSP.SELF, "data:"],
    "font-src": [CSP.SELF],
    "connect-src": [CSP.SELF],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
    "base-uri": [CSP.NONE],
    "manifest-src": [CSP.SELF],
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 32 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200

# Mail.
DEFAULT_FROM_EMAIL = "AerolithDB Cloud <no-reply@aerolith.invalid>"
MAILBOX_ENABLED = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["portal.access.authentication.RequestUserAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "portal.core.pagination.NewestFirst",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["portal.core.throttling.ApiThrottle"],
    "EXCEPTION_HANDLER": "portal.core.problems.exception_handler",
    "PAGE_SIZE": 50,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
API_CALLS_PER_MINUTE = 1200
SPECTACULAR_SETTINGS = {
    "TITLE": "AerolithDB Cloud",
    "DESCRIPTION": "Everything that the browser pages can do, over HTTP.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "PREPROCESSING_HOOKS": ["portal.api.schema.only_v1"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

UNFOLD = {
    "SITE_TITLE": "AerolithDB operators",
    "SITE_HEADER": "AerolithDB operators",
    "SITE_URL": "/",
    "SHOW_HISTORY": True,
    "STYLES": ["/static/operators/tables.css"],
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": "/static/favicon.svg"},
    ],
    "SIDEBAR": {
        "show_all_applications": True,
        "navigation": [
            {
                "title": "Watch",
                "items": [
                    {
                        "title": "Clusters and operations",
                        "icon": "dns",
                        "link": reverse_lazy("admin:organizations_across"),
                    }
                ],
            }
        ],
    },
}

CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_TIME_LIMIT = 600
CELERY_TASK_SOFT_TIME_LIMIT = 540
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = "UTC"
CELERY_TASK_DEFAULT_QUEUE = "aerolith"


# What clusters are for unless they are made as sandboxes: nodes of production cannot be broken.
CLUSTER_PROFILE = "development"

# Where the keys of clusters are kept: the transit engine of an OpenBao or Vault server, or, without
# one, a file of each cluster below `keys/` of the installation.
KEY_SERVER_URL = env_text("KEY_SERVER_URL", default="")
KEY_SERVER_TOKEN_FILE = env_text("KEY_SERVER_TOKEN_FILE", default="")
KEY_SERVER_MOUNT = env_text("KEY_SERVER_MOUNT", default="transit")
KEY_SERVER_CA_FILE = env_text("KEY_SERVER_CA_FILE", default="")

# A length of the windows in which nodes count usage; cut to whole hours by design.
USAGE_WINDOW_MS = 60_000


def _beat_schedule() -> dict[str, Any]:
    """Gather the schedules that apps keep in their `schedule.py`, a module without models."""
    gathered: dict[str, Any] = {}
    for name in INSTALLED_APPS:
        if name.startswith("portal.") and find_spec(f"{name}.schedule") is not None:
            module = __import__(f"{name}.schedule", fromlist=["BEAT_SCHEDULE"])
            gathered.update(module.BEAT_SCHEDULE)
    return gathered


CELERY_BEAT_SCHEDULE = _beat_schedule()


def services_by_valkey(url: str) -> dict[str, Any]:
    """Return the settings of everything that Valkey carries."""
    return {
        "CELERY_BROKER_URL": url,
        "CACHES": {
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": url,
                "KEY_PREFIX": "aerolith",
            }
        },
        "CHANNEL_LAYERS": {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": [url], "prefix": "aerolith", "capacity": 200},
            }
        },
    }


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"context": {"()": "portal.core.logs.ContextFilter"}},
    "formatters": {"json": {"()": "portal.core.logs.JsonFormatter"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "json",
            "filters": ["context"],
        }
    },
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django.server": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "django.request": {"level": "ERROR"},
        "daphne": {"level": "WARNING"},
        "axes": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
    },
}
