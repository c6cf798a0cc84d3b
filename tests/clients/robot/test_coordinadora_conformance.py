"""The conformance suite for the carrier that works in a browser: a real Chromium, one for all of them."""

import pytest

from clients.robot.carrier import Carrier
from clients.robot.carriers.chromium import Chromium
from clients.robot.carriers.coordinadora import CoordinadoraCarrier
from clients.robot.conformance.suite import CarrierConformance


class InSharedBrowser(CoordinadoraCarrier):
    """To start a browser takes longer than to ship an order: these take one that runs, and leave it running."""

    running: Chromium

    async def _start_browser(self) -> Chromium:
        return self.running

    async def close(self) -> None:
        context, self._chromium, self._context, self._tab = self._context, None, None, None
        if context is not None:
            await context.close()


class TestCoordinadoraCarrier(CarrierConformance):
    @pytest.fixture
    def carrier_class(self, chromium: Chromium) -> type[Carrier]:
        InSharedBrowser.running = chromium
        return InSharedBrowser
