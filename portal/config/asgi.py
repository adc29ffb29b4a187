"""ASGI entry: HTTP to Django, WebSockets to the live channels."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings.embedded")

from django.core.asgi import get_asgi_application

# Django must be set up before anything that imports models.
http_application = get_asgi_application()

from channels.routing import ProtocolTypeRouter  # noqa: E402 - see above.

from portal.config.routing import websocket_application  # noqa: E402 - see above.

application = ProtocolTypeRouter({"http": http_application, "websocket": websocket_application})
