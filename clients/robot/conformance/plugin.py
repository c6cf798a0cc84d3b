"""The options of the suite's run: `pytest -p clients.robot.conformance.plugin --pyargs clients.robot.conformance`.

They cannot stand in a conftest.py: of a package that is named with --pyargs, pytest reads that only after the options.
"""

import pytest

CARRIER = "--carrier"
CARRIER_OPTION = "--carrier-option"
PORTAL_URL = "--portal-url"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("carriers", "conformance of a robot's carrier")
    group.addoption(CARRIER, help="sandbox, coordinadora, or your own package.module:Class")
    group.addoption(
        CARRIER_OPTION, action="append", default=[], metavar="NAME=VALUE", help="an option of the carrier; may repeat"
    )
    group.addoption(PORTAL_URL, help="a portal that answers /sandbox, which is reset; else the suite starts its own")
