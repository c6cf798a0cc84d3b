"""Chromium for carriers: found, started by Playwright, and ended for certain."""

import asyncio
import os
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Self

import psutil  # type: ignore[import-untyped]  # it has no types of its own
from playwright.async_api import Browser, Playwright, async_playwright
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import TimeoutError as PlaywrightTimeout

from clients.robot.carrier import CarrierUnusable, PortalUnavailable

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
STARTS_WITHIN_S = 60.0
ENDS_WITHIN_S = 10.0


def find_chromium(options: Mapping[str, str]) -> str | None:
    """Option `executable`, else ROBOT_JOBS_CHROMIUM, else the machine's own; None: the one that Playwright installed.

    Raises CarrierUnusable if the one that is named does not exist.
    """
    named = options.get("executable") or os.environ.get("ROBOT_JOBS_CHROMIUM")
    if named:
        found = shutil.which(named)
        if found is None:
            raise CarrierUnusable(f"There is no browser at {named}.")
        return found
    return next((found for name in EXECUTABLES if (found := shutil.which(name))), None)


class Chromium:
    """A browser with a driver of its own, and the processes of both."""

    def __init__(self, playwright: Playwright, browser: Browser, processes: list[psutil.Process]) -> None:
        self.browser = browser
        self._playwright = playwright
        self._processes = processes

    @classmethod
    async def start(cls, options: Mapping[str, str]) -> Self:
        """Options: `executable`, `headless` and `sandbox` (true or false; Chromium's own, off for root).

        Raises CarrierUnusable, and PortalUnavailable if it does not start in time.
        """
        executable = find_chromium(options)
        has_sandbox = options.get("sandbox", "false" if os.geteuid() == 0 else "true") == "true"
        mark = f"--robot-jobs={uuid.uuid4().hex}"  # means nothing to Chromium: tells whose process it is
        playwright = await async_playwright().start()
        try:
            browser = await playwright.chromium.launch(
                executable_path=executable,
                headless=options.get("headless", "true") != "false",
                chromium_sandbox=has_sandbox,
                args=[*FLAGS, mark],
                timeout=STARTS_WITHIN_S * 1_000,
            )
        except PlaywrightTimeout:
            problem: Exception = PortalUnavailable(f"Chromium did not start within {STARTS_WITHIN_S:g} s.")
        except PlaywrightError as error:
            first = str(error).splitlines()[0]
            problem = CarrierUnusable(
                f"Chromium does not start ({first}); install it (Debian: apt-get install chromium),"
                " or name one with --option executable=…; in a container perhaps --option sandbox=false."
            )
        except BaseException:
            await playwright.stop()
            raise
        else:
            return cls(playwright, browser, await asyncio.to_thread(_processes, mark))
        await playwright.stop()
        raise problem

    @property
    def is_alive(self) -> bool:
        """Asked of the machine too: that a browser was killed is heard of a little later."""
        return self.browser.is_connected() and all(map(_is_alive, self._processes))

    async def end(self) -> None:
        """Asks it to go, and ends what has not gone; raises nothing."""
        processes = [*self._processes, *await asyncio.to_thread(_children, self._processes)]
        for goodbye in (self.browser.close, self._playwright.stop):
            with suppress(Exception):  # whatever is wrong with it, it is to go
                async with asyncio.timeout(ENDS_WITHIN_S):
                    await goodbye()
        await asyncio.to_thread(_end, processes)


def _processes(mark: str) -> list[psutil.Process]:
    """The browser of that mark, and the driver that started it: whatever stands between it and this process."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if mark in process.cmdline():
                found += [process, *(each for each in process.parents() if _is_below_this(each))]
    return list(dict.fromkeys(found))


def _is_below_this(process: psutil.Process) -> bool:
    return os.getpid() in (each.pid for each in process.parents())


def _children(processes: list[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in processes:
        with suppress(psutil.Error):
            found += process.children(recursive=True)
    return found


def _end(processes: list[psutil.Process]) -> None:
    """By process, not by number alone: a number may be somebody else's meanwhile."""
    alive = [process for process in dict.fromkeys(processes) if _is_alive(process)]
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=ENDS_WITHIN_S)


def _is_alive(process: psutil.Process) -> bool:
    """One that is dead, and that nobody has asked about yet, is not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
