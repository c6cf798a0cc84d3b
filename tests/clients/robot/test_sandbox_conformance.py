"""The conformance suite for the carrier that works over HTTP."""

import pytest

from clients.robot.carrier import Carrier
from clients.robot.carriers.sandbox import SandboxCarrier
from clients.robot.conformance.suite import CarrierConformance


class TestSandboxCarrier(CarrierConformance):
    @pytest.fixture
    def carrier_class(self) -> type[Carrier]:
        return SandboxCarrier
