"""A real Chromium for tests, as the machine has it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from clients.robot.carriers.chromium import Chromium, find_chromium

NO_SANDBOX = {"sandbox": "false"}  # it needs what containers often lack; the pages are our own


def require_chromium() -> None:
    """Skips the test where there is none, and fails it in CI."""
    if find_chromium({}) is None:
        reason = "Chromium is not installed (Debian: apt-get install chromium)."
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Chromium]:
    """Where there is one: see require_chromium."""
    require_chromium()
    chromium = await Chromium.start(NO_SANDBOX)
    try:
        yield chromium
    finally:
        await chromium.end()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def chromium() -> AsyncIterator[Chromium]:
    async with running_chromium() as chromium:
        yield chromium


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser(chromium: Chromium) -> Browser:
    return chromium.browser
