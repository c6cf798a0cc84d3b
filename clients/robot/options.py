"""What a robot is told before it starts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from clients.robot.carrier import CarrierSettings
from clients.robot.logs import LogFormat

LEASE_S_AT_LEAST, LEASE_S_AT_MOST = 30, 3_600
LEASES_AT_ONCE = 100


class OptionsWrong(Exception):
    """One line for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotOptions:
    carrier: str
    url: str
    """Of the API, with its /graphql."""
    key: str = field(repr=False)
    name: str = "robot"
    workspace_id: str | None = None
    """None leaves it to the key."""
    carrier_settings: CarrierSettings
    state_dir: Path | None = None
    limit: int = 1
    """Items of one account in hand at once."""
    lease_s: int = 120
    stop_timeout_s: float = 120.0
    until_idle: bool = False
    log_format: LogFormat = LogFormat.JSON
    log_level: str = "info"
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    shows_progress: bool = True

    def __post_init__(self) -> None:
        """Raises OptionsWrong."""
        for name, url in (("--url", self.url), ("--portal-url", self.carrier_settings.url)):
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise OptionsWrong(f"{name} must be an http or https address; it is {url!r}")
        if not self.key:
            raise OptionsWrong("the robot needs an API key: set ROBOT_JOBS_KEY (robot-jobs api-key create makes one)")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}", self.name, re.ASCII):
            raise OptionsWrong(f"--name is 1 to 60 letters, digits and . _ -; it is {self.name!r}")
        if not 1 <= self.limit <= LEASES_AT_ONCE:
            raise OptionsWrong(f"--limit must be 1 to {LEASES_AT_ONCE}; it is {self.limit}")
        if not LEASE_S_AT_LEAST <= self.lease_s <= LEASE_S_AT_MOST:
            raise OptionsWrong(f"--lease-s must be {LEASE_S_AT_LEAST} to {LEASE_S_AT_MOST:,}; it is {self.lease_s}")

    @property
    def folder(self) -> Path:
        return self.state_dir or Path(".robot-jobs") / "robots" / self.name


def read_carrier_options(texts: Sequence[str]) -> Mapping[str, str]:
    """`name=value` each.  Raises OptionsWrong."""
    pairs = [text.partition("=") for text in texts]
    for text, (name, equals, _) in zip(texts, pairs, strict=True):
        if not name or not equals:
            raise OptionsWrong(f"--option is name=value; it is {text!r}")
    return {name: value for name, _, value in pairs}


def read_log_format(text: str) -> LogFormat:
    """Raises OptionsWrong."""
    if text not in set(LogFormat):
        raise OptionsWrong(f"--log is json or text; it is {text!r}")
    return LogFormat(text)
