"""The suite, run for the carrier that --carrier names."""

from collections.abc import Mapping

import pytest

from clients.robot.carrier import Carrier
from clients.robot.carriers import load_carrier
from clients.robot.conformance.plugin import CARRIER, CARRIER_OPTION, PORTAL_URL
from clients.robot.conformance.suite import CarrierConformance


class TestCarrier(CarrierConformance):
    @pytest.fixture
    def carrier_class(self, request: pytest.FixtureRequest) -> type[Carrier]:
        name = request.config.getoption(CARRIER, default=None)
        if name is None:
            pytest.skip("No carrier is named: -p clients.robot.conformance.plugin --carrier sandbox")
        return load_carrier(name)

    @pytest.fixture
    def carrier_options(self, request: pytest.FixtureRequest) -> Mapping[str, str]:
        given = [option.partition("=") for option in request.config.getoption(CARRIER_OPTION, default=[])]
        return {name: value for name, _, value in given}

    @pytest.fixture
    def portal_url(self, request: pytest.FixtureRequest) -> str | None:
        url: str | None = request.config.getoption(PORTAL_URL, default=None)
        return url
