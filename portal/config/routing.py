"""WebSocket routes of all apps, of allowed origins only; consumers check membership themselves."""

from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

from portal.monitoring.routing import websocket_urlpatterns

websocket_application = AllowedHostsOriginValidator(URLRouter(websocket_urlpatterns))
