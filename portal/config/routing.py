"""WebSocket routes of all apps, of allowed origins only; consumers check membership themselves."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

_routes: list[Any] = []
if find_spec("portal.monitoring.routing") and find_spec("portal.clusters.selectors"):
    _routes += import_module("portal.monitoring.routing").websocket_urlpatterns

websocket_application = AllowedHostsOriginValidator(URLRouter(_routes))
