"""docs/api.md as a program: its examples in order, and the tables in it that are written from the code.

An example is a `graphql` block, `json variables` where it has any, and `json answer` (`json messages` of a
subscription, `json message` if only its first is shown); `<!-- as admin -->` before it says who asks, otherwise it is
the operator.  What differs from run to run is written in a stable way: the first id that comes up is …0001, the next
…0002; times, cursors and secrets likewise.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"

_BLOCK = re.compile(r"^```(?P<kind>graphql|json \w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_WHO = re.compile(r"<!-- as (\w+) -->")
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00:00|Z)")
_KEY = re.compile(r"rjk_\w{20,}")
_EVENT_CURSOR = re.compile(r"\b(\d+)\.([0-9a-f]{8})\b")
_CURSORS = frozenset({"cursor", "startCursor", "endCursor"})
_WIDTH = 116


@dataclass(slots=True)
class Example:
    """One operation, and where its answer stands in the page."""

    who: str
    document: str
    variables: dict[str, Any]
    is_subscription: bool
    is_endless: bool
    answer_span: tuple[int, int]
    answer: str


def examples(page: str) -> Iterator[Example]:
    """In the order of the page; a `graphql` block without an answer is for reading only."""
    document, who = "", "operator"
    variables: dict[str, Any] = {}
    for block in _BLOCK.finditer(page):
        match block["kind"]:
            case "graphql":
                document, variables = block["text"], {}
                asked = _WHO.findall(page[: block.start()].rpartition("```")[2])
                who = asked[-1] if asked else "operator"
            case "json variables":
                variables = json.loads(block["text"])
            case "json answer" | "json messages" | "json message" as kind:
                yield Example(
                    who,
                    document,
                    variables,
                    is_subscription=kind != "json answer",
                    is_endless=kind == "json message",
                    answer_span=block.span("text"),
                    answer=block["text"],
                )


@dataclass(slots=True)
class Stable:
    """Ids, cursors and secrets of this run, and how the page writes them."""

    _shown: dict[str, str] = field(default_factory=dict)
    _real: dict[str, str] = field(default_factory=dict)
    _ids: int = 0
    _places: int = 0

    def show(self, value: Any, *, key: str = "") -> Any:
        """The answer as the page writes it."""
        match value:
            case dict():
                return {name: self.show(each, key=name) for name, each in value.items()}
            case list():
                return [self.show(each, key=key) for each in value]
            case str() if key in _CURSORS and not _EVENT_CURSOR.fullmatch(value):
                return self._name(value, self._next_place)
            case str():
                text = _UUID.sub(lambda found: self._name(found[0], self._next_id), value)
                text = _TIME.sub("2026-11-22T15:04:05.678901+00:00", text)
                text = _KEY.sub(lambda found: self._name(found[0], lambda: "rjk_" + "x" * 32), text)
                return _EVENT_CURSOR.sub(self._event_cursor, text)
            case _:
                return value

    def real(self, value: Any) -> Any:
        """Variables of the page as this run has them; an id that no answer has shown is nobody's, and stays."""
        text = json.dumps(value)
        for unknown in set(_UUID.findall(text)) - self._real.keys():
            self._shown[unknown] = self._real[unknown] = unknown
        for shown, real in self._real.items():
            text = text.replace(shown, real)
        return json.loads(text)

    def _name(self, real: str, make: Callable[[], str]) -> str:
        if real not in self._shown:
            shown = self._shown[real] = make()
            self._real[shown] = real
        return self._shown[real]

    def _next_id(self) -> str:
        self._ids += 1
        return f"01980000-0000-7000-8000-{self._ids:012d}"

    def _next_place(self) -> str:
        self._places += 1
        return f"Y3Vyc29y{self._places:04d}"

    def _event_cursor(self, found: re.Match[str]) -> str:
        """A job's cursor ends as the job's id does."""
        job = next((shown for real, shown in self._shown.items() if real.replace("-", "").endswith(found[2])), None)
        return self._name(found[0], lambda: f"{found[1]}.{job.replace('-', '')[-8:]}" if job else found[0])


def pretty(value: Any, indent: int = 0) -> str:
    """JSON for people: what fits on a line stays on one."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + indent <= _WIDTH or not isinstance(value, dict | list) or not value:
        return flat
    inner = " " * (indent + 2)
    if isinstance(value, list):
        lines = [inner + pretty(each, indent + 2) for each in value]
    else:
        lines = [f"{inner}{json.dumps(name)}: {pretty(each, indent + 2)}" for name, each in value.items()]
    opening, closing = ("[", "]") if isinstance(value, list) else ("{", "}")
    return opening + "\n" + ",\n".join(lines) + "\n" + " " * indent + closing


def with_tables(page: str, tables: dict[str, str]) -> str:
    """The page with its tables as the code has them."""
    return _TABLE.sub(lambda found: f"{found[1]}{tables[found[2]]}\n{found[3]}", page)
