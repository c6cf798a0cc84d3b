"""What a robot tells while it works: one line per event on standard error, as JSON or for people, without secrets."""

import datetime as dt
import html
import json
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Any
from urllib.parse import quote, quote_plus

LOGGER = logging.getLogger("robot_jobs.robot")
_HIDDEN = "***"


class LogFormat(StrEnum):
    JSON = "json"
    TEXT = "text"


class Secrets:
    """What must not be told, whatever text it comes with: a portal's error message may quote what was typed."""

    def __init__(self) -> None:
        self._spellings: list[str] = []

    def add(self, value: str) -> None:
        if value:
            self._spellings = sorted({*self._spellings, *_spellings(value)}, key=len, reverse=True)

    def hide(self, text: str) -> str:
        for spelling in self._spellings:
            text = text.replace(spelling, _HIDDEN)
        return text

    def hide_bytes(self, content: bytes) -> bytes:
        """In a page's text; pictures are left as they are."""
        for spelling in self._spellings:
            content = content.replace(spelling.encode("utf-8", "surrogatepass"), _HIDDEN.encode())
        return content


def _spellings(value: str) -> set[str]:
    """As it stands, in addresses and pages, and as programs quote it, JSON within JSON too."""
    quoted = {value, html.escape(value)}
    with suppress(UnicodeEncodeError):
        quoted |= {quote(value), quote(value, safe=""), quote_plus(value)}
    for _ in range(2):
        quoted |= {json.dumps(each, ensure_ascii=is_ascii)[1:-1] for each in quoted for is_ascii in (True, False)}
        quoted |= {repr(each)[1:-1] for each in quoted}
    return quoted


class Log:
    """Events with the facts that belong to all of them."""

    def __init__(self, **facts: Any) -> None:
        self._facts = facts

    def of(self, **facts: Any) -> "Log":
        return Log(**self._facts | facts)

    def debug(self, event: str, **facts: Any) -> None:
        self._tell(logging.DEBUG, event, facts)

    def info(self, event: str, **facts: Any) -> None:
        self._tell(logging.INFO, event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        self._tell(logging.WARNING, event, facts)

    def error(self, event: str, **facts: Any) -> None:
        self._tell(logging.ERROR, event, facts)

    def exception(self, event: str, **facts: Any) -> None:
        """With the traceback of what is being handled."""
        self._tell(logging.ERROR, event, facts, exc_info=True)

    def _tell(self, level: int, event: str, facts: dict[str, Any], *, exc_info: bool = False) -> None:
        told = {name: value for name, value in (self._facts | facts).items() if value is not None}
        LOGGER.log(level, event, extra={"facts": told}, exc_info=exc_info)


class _Formatter(logging.Formatter):
    def __init__(self, log_format: LogFormat, secrets: Secrets) -> None:
        super().__init__()
        self._format, self._secrets = log_format, secrets

    def format(self, record: logging.LogRecord) -> str:
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        facts: dict[str, Any] = getattr(record, "facts", {})
        trace = self.formatException(record.exc_info) if record.exc_info else None
        if self._format is LogFormat.JSON:
            line = {"time": at, "level": record.levelname.lower(), "event": record.getMessage()} | facts
            if record.name != LOGGER.name:
                line["logger"] = record.name
            if trace:
                line["trace"] = trace
            return self._secrets.hide(json.dumps(line, ensure_ascii=False, default=str))
        told = "  ".join(f"{name}={value}" for name, value in facts.items())
        text = f"{at} {record.levelname:<7} {record.getMessage()}  {told}".rstrip()
        return self._secrets.hide(f"{text}\n{trace}" if trace else text)


class _Handler(logging.Handler):
    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(self.format(record))
        except Exception:  # a log that cannot be written must not end the robot
            self.handleError(record)


def set_up_logs(
    log_format: LogFormat, secrets: Secrets, *, level: str = "info", write: Callable[[str], None] | None = None
) -> None:
    """All logs of the process go there; libraries' only from warnings on, for they tell of every request."""
    handler = _Handler(write or _write_line)
    handler.setFormatter(_Formatter(log_format, secrets))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    LOGGER.setLevel(level.upper())


def _write_line(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
