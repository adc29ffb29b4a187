"""`manage.py demo_traffic`: a trickle of real calls, so that the demonstration's charts move."""

import signal
from threading import Event
from typing import Any, override

from django.core.management.base import BaseCommand, CommandError

from portal.commands.summary import demo_read
from portal.commands.traffic import Traffic, client_of
from portal.core.supervision import aerolith_home


class Command(BaseCommand):
    """Run by `up` as long as the demonstration is there."""

    help = "Query, read and write airports, far below the plan's calls."
    requires_system_checks = ()

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        demo = demo_read(aerolith_home())
        if demo is None:
            raise CommandError("there is no demonstration; run `manage.py up`")
        ending = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ending.set())
        with client_of(demo) as client:
            Traffic(client).run(ending)
