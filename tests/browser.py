"""A real Chromium for tests, as the machine has it."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser

from clients.robot.carriers.chromium import Chromium, find_chromium

NO_SANDBOX = {"sandbox": "false"}  # it needs what containers often lack; the pages are our own
SHELL = "chromium-headless-shell"
"""Chromium without all that a window needs: the same pages for much less work.  Debian has a package of that name."""


def require_chromium() -> None:
    """Skips the test where there is none, and fails it in CI."""
    if find_chromium({}) is None:
        reason = "Chromium is not installed (Debian: apt-get install chromium)."
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Chromium]:
    """Where there is one: see require_chromium.  The shell if the machine has it, and nobody names another."""
    require_chromium()
    shell = None if os.environ.get("ROBOT_JOBS_CHROMIUM") else shutil.which(SHELL)
    chromium = await Chromium.start(NO_SANDBOX | ({"executable": shell} if shell else {}))
    try:
        yield chromium
    finally:
        await chromium.end()


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Chromium]:
    """One a worker."""
    async with running_chromium() as chromium:
        yield chromium


@pytest.fixture(scope="session")
async def browser(chromium: Chromium) -> Browser:
    return chromium.browser
