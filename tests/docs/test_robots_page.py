"""docs/robots.md as a program: its carrier keeps every rule of which the page speaks."""

import re
from pathlib import Path
from typing import Any

import pytest

from clients.robot.carrier import Carrier
from clients.robot.conformance import plugin
from clients.robot.conformance.suite import CarrierConformance

PAGE = Path(__file__).resolve().parents[2] / "docs" / "robots.md"
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class TestCarrierOfThePage(CarrierConformance):
    @pytest.fixture
    def carrier_class(self) -> type[Carrier]:
        names: dict[str, Any] = {}
        code = _PYTHON.findall(PAGE.read_text())[0]
        exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102 -- what the page shows
        carrier: type[Carrier] = names["SmallCarrier"]
        return carrier


def test_the_page_names_every_option() -> None:
    page = PAGE.read_text()

    for option in (plugin.CARRIER, plugin.CARRIER_OPTION, plugin.PORTAL_URL):
        assert f"`{option}" in page
