"""The line at the bottom of a terminal: what is done, what is in hand, what waits to be sent."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

_EVERY_S = 0.25


@contextmanager
def progress_console(*, is_wanted: bool) -> Iterator[tuple[Callable[[str], None], Live] | None]:
    """Where log lines go while the line is shown; None without a terminal."""
    console = Console(stderr=True)
    if not is_wanted or not console.is_terminal:
        yield None
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True), live


async def show_progress(live: Live, count: Callable[[], Mapping[str, int]]) -> None:
    """Until cancelled."""
    while True:
        live.update(progress_line(count()), refresh=True)
        await asyncio.sleep(_EVERY_S)


def restore_terminal() -> None:
    """For a process that ends without leaving the block above."""
    console = Console(stderr=True)
    if console.is_terminal:
        console.show_cursor()


def progress_line(counts: Mapping[str, int]) -> Text:
    styles = {"done": "green", "failed": "red", "unknown": "yellow"}
    line = Text()
    for name, number in counts.items():
        line.append(f"{number} {name}   ", style=styles.get(name, "") if number else "dim")
    return line
