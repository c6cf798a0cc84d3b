"""What a robot is told before it starts, and what it says of wrong words."""

from typing import Any

import pytest

from clients.robot.carrier import CarrierSettings
from clients.robot.carriers import UnknownCarrier, load_carrier
from clients.robot.options import OptionsWrong, RobotOptions, read_carrier_options, read_log_format
from tests.clients.robot.scripted import ScriptedCarrier


def options(*, portal_url: str = "http://portal.invalid", **changes: Any) -> RobotOptions:
    given: dict[str, Any] = {"carrier": "sandbox", "url": "http://127.0.0.1:8000/graphql", "key": "rjk_any"}
    return RobotOptions(**given | {"carrier_settings": CarrierSettings(url=portal_url)} | changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"portal_url": "portal"}, "--portal-url must be an http or https address; it is 'portal'"),
        ({"url": "ftp://api"}, "--url must be an http or https address; it is 'ftp://api'"),
        ({"key": ""}, "set ROBOT_JOBS_KEY"),
        ({"limit": 0}, "--limit must be 1 to 100; it is 0"),
        ({"lease_s": 3}, "--lease-s must be 30 to 3,600; it is 3"),
        ({"name": "../etc"}, "--name is 1 to 60 letters, digits and . _ -; it is '../etc'"),
    ],
)
def test_a_wrong_option_is_named(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(OptionsWrong) as wrong:
        options(**changes)

    assert expected in str(wrong.value)


def test_carrier_options_and_the_log_s_format_are_read_or_refused() -> None:
    assert read_carrier_options(["headless=no", "a=b=c"]) == {"headless": "no", "a": "b=c"}
    with pytest.raises(OptionsWrong, match="--option is name=value; it is 'novalue'"):
        read_carrier_options(["novalue"])
    with pytest.raises(OptionsWrong, match="--log is json or text; it is 'yaml'"):
        read_log_format("yaml")


def test_the_key_is_not_shown() -> None:
    assert "rjk_any" not in repr(options())


def test_a_carrier_of_one_s_own_is_loaded_by_its_path() -> None:
    assert load_carrier("tests.clients.robot.scripted:ScriptedCarrier") is ScriptedCarrier


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pigeon", "there is no carrier 'pigeon'; there are sandbox, coordinadora"),
        ("no.such:Thing", "carrier 'no.such:Thing' cannot be loaded"),
        ("pathlib:Path", "'pathlib:Path' is no class of clients.robot.carrier.Carrier"),
    ],
)
def test_a_carrier_that_cannot_be_loaded_is_named(name: str, expected: str) -> None:
    with pytest.raises(UnknownCarrier, match=expected):
        load_carrier(name)
