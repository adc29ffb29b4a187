"""Rate limits: fixed windows counted in the cache."""

from typing import Any, override

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from portal.core import clock
from portal.core.errors import RateLimited
from portal.core.http import client_ip

MINUTE = 60


def _count(name: str, *, window_s: int) -> tuple[int, int]:
    """Count one event; return the number in this window and the seconds until the next."""
    present = int(clock.now().timestamp())
    key = f"rate:{name}:{present // window_s}"
    cache.add(key, 0, timeout=window_s + 5)
    return cache.incr(key), window_s - present % window_s


def limit(name: str, *, most: int, window_s: int) -> None:
    """Refuse when `name` was seen more than `most` times in the window.

    Raises:
        RateLimited: with the seconds to wait.
    """
    count, wait = _count(name, window_s=window_s)
    if count > most:
        raise RateLimited(
            f"Too many attempts. Try again in {max(1, wait // MINUTE)} min.", retry_after=wait
        )


def limit_by_address(request: HttpRequest, action: str, *, most: int, window_s: int) -> None:
    """Limit an action of strangers by their address."""
    limit(f"{action}:{client_ip(request)}", most=most, window_s=window_s)


class ApiThrottle(BaseThrottle):
    """So many calls a minute for each user, or for each address of strangers."""

    seconds = 0

    @override
    def allow_request(self, request: Request, view: Any) -> bool:
        who = f"user:{request.user.pk}" if request.user.is_authenticated else client_ip(request)
        count, self.seconds = _count(f"api:{who}", window_s=MINUTE)
        return count <= settings.API_CALLS_PER_MINUTE

    @override
    def wait(self) -> float:
        return float(self.seconds)
