#!/usr/bin/env python
import os
import sys


def main() -> None:
    if not __debug__:
        raise SystemExit("Do not run with -O: assertions are part of the safety of this program.")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings.embedded")
    from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415 - after the check.
    from django.core.management import execute_from_command_line  # noqa: PLC0415

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        raise SystemExit(f"the settings are not usable: {error}") from error


if __name__ == "__main__":
    main()
