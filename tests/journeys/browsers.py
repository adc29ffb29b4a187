"""The browser of the machine."""

import os
import shutil

import pytest


def chromium() -> str:
    for name in (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"):
        if name and (found := shutil.which(name)):
            return found
    pytest.fail("there is no Chromium; `make test` installs it where it may")
