"""What a robot tells: whole lines, for programs or for people, without secrets; and a line of counts."""

import html
import json
import logging
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from clients.robot.logs import LOGGER, Log, LogFormat, Secrets, set_up_logs
from clients.robot.progress import progress_line

PASSWORD = 'Kanarienvogel"4711ñ'


@pytest.fixture
def told() -> Iterator[list[str]]:
    """The lines, with the logging of the tests put back at the end."""
    root = logging.getLogger()
    kept = (list(root.handlers), root.level, LOGGER.level)
    yield []
    root.handlers[:], level, own_level = kept
    root.setLevel(level)
    LOGGER.setLevel(own_level)


def secrets() -> Secrets:
    known = Secrets()
    known.add(PASSWORD)
    return known


def test_an_event_is_one_json_line_with_its_facts(told: list[str]) -> None:
    set_up_logs(LogFormat.JSON, secrets(), write=told.append)

    Log(robot="r").of(item="i").info("item_ended", outcome="success", workspace=None)

    (line,) = told
    event = json.loads(line)
    assert event.pop("time").endswith("Z")
    assert event == {"level": "info", "event": "item_ended", "robot": "r", "item": "i", "outcome": "success"}


@pytest.mark.parametrize("log_format", LogFormat)
def test_no_secret_is_told_however_it_is_written(told: list[str], log_format: LogFormat) -> None:
    set_up_logs(log_format, secrets(), level="debug", write=told.append)
    log = Log(robot=PASSWORD)

    log.info(f"typed {PASSWORD}", nested={"password": PASSWORD, "as json": json.dumps({"clave": PASSWORD})})
    try:
        int(PASSWORD)
    except ValueError:
        log.exception("defect", message=PASSWORD, page=html.escape(PASSWORD), sent=urlencode({"clave": PASSWORD}))
    logging.getLogger("a library").warning("it knows %s", PASSWORD)

    assert len(told) == 3
    assert not any("Kanarienvogel" in line or "4711" in line for line in told)
    assert "Traceback" in told[1]


def test_libraries_do_not_tell_of_every_request(told: list[str]) -> None:
    set_up_logs(LogFormat.TEXT, secrets(), level="debug", write=told.append)

    logging.getLogger("httpx").info("HTTP Request: POST")

    assert told == []


def test_the_line_of_counts_is_short() -> None:
    line = progress_line({"done": 12, "failed": 0, "unknown": 1, "in hand": 1, "queued": 0})

    assert line.plain == "12 done   0 failed   1 unknown   1 in hand   0 queued   "
