"""What the demo shows: short lines and tables; a moving bar on a terminal, plain lines elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from clients.console.answers import FailureGroup, ImportedOrders, JobState, PreviewedOrder, RefusedLine
from clients.console.dispatch_plan import DispatchPlan
from clients.console.faults import OrderedFault, count_stories
from clients.console.recording import save_picture

_WIDTH = 100
_CORRECTIONS_SHOWN = 6
_LINES_SHOWN = 20
_REFERENCES_SHOWN = 6
_BAR_WIDTH = 36
_ACTIONS = {
    "FIX_ORDER": "Fix the order, then retry",
    "RETRY": "Retry: the order is fine",
    "CHECK_PORTAL": "Look in the portal first: a parcel may exist",
    "INVESTIGATE": "Read the message, then retry",
}


@dataclass(frozen=True, slots=True)
class Round:
    """One pass over a job: how many items were closed live, how they ended, and how long it took."""

    title: str
    success_count: int
    error_count: int
    seconds: float

    @property
    def item_count(self) -> int:
        return self.success_count + self.error_count

    @property
    def items_per_minute(self) -> float:
        return self.item_count / self.seconds * 60 if self.seconds else 0.0


class Screen:
    """Prints on one console.  Text that comes from the API is shown as it is, never read as markup."""

    def __init__(self, console: Console, *, record: Path | None = None) -> None:
        self.console = console
        self._record = record
        console.width = min(console.width, _WIDTH) if console.is_terminal else _WIDTH
        console.record = record is not None

    def title(self, text: str) -> None:
        self.console.print(Text(text, style="bold"), highlight=False)

    def step(self, text: str) -> None:
        self.console.print()
        self.console.print(Text(text, style="bold cyan"), highlight=False)

    def say(self, text: str, *, style: str = "") -> None:
        self.console.print(Text(f"  {text}", style=style), highlight=False, soft_wrap=True)

    def good(self, text: str) -> None:
        self.say(f"✓ {text}", style="green")

    def bad(self, text: str) -> None:
        self.say(f"✗ {text}", style="bold red")

    def notice(self, text: str) -> None:
        """Something that passes, such as a cut connection."""
        self.say(f"… {text}", style="yellow")

    def imported(self, imported: Sequence[ImportedOrders], refused: Sequence[RefusedLine]) -> None:
        created = sum(each.created_count for each in imported)
        updated = sum(each.updated_count for each in imported)
        unchanged = sum(each.unchanged_count for each in imported)
        self.good(f"{created:,} created, {updated:,} updated, {unchanged:,} unchanged")
        if refused:
            self.say(f"{count_of(len(refused), 'line')} refused:", style="yellow")
        for line in refused[:_LINES_SHOWN]:
            self.say(f"  {line.message}", style="yellow")
        if len(refused) > _LINES_SHOWN:
            self.say(f"  … and {len(refused) - _LINES_SHOWN:,} more", style="yellow")

    def plan(self, plan: DispatchPlan) -> None:
        if plan.ready:
            corrected = f", {len(plan.corrected):,} with a corrected city" if plan.corrected else ""
            self.good(f"{count_of(len(plan.ready), 'order')} ready{corrected}")
        if plan.under_way:
            self.say(f"{count_of(len(plan.under_way), 'order')} in a job that is under way")
        if plan.shipped:
            self.say(f"{count_of(len(plan.shipped), 'order')} shipped already: an order is never shipped twice")
        if plan.corrected:
            self._corrections(plan)
            self.console.print()
        if plan.rejected:
            self.say(
                f"{count_of(plan.rejected_count, 'order')} not sent: each needs a correction first", style="yellow"
            )
            self._rejected(plan)

    def _rejected(self, plan: DispatchPlan) -> None:
        table = _table("What is wrong", "Orders:", "Such as", "What to do")
        for group in plan.rejected:
            example = group.orders[0]
            table.add_row(
                escape(group.title), f"{len(group.orders):,}", escape(example.reference), escape(example.message)
            )
        self.console.print(table)

    def _corrections(self, plan: DispatchPlan) -> None:
        table = _table("Order", "City as typed", "City for the carrier", "Why")
        for order in _one_of_each(plan)[:_CORRECTIONS_SHOWN]:
            typed = ", ".join(" ".join(part.split()) for part in (order.typed_city, order.typed_department))
            reason = order.problems[0].code.replace("_", " ").lower()
            table.add_row(escape(order.reference), escape(typed), escape(order.carrier_city or ""), escape(reason))
        self.console.print(table)
        if len(plan.corrected) > _CORRECTIONS_SHOWN:
            self.say(f"… and {len(plan.corrected) - _CORRECTIONS_SHOWN:,} more corrections", style="dim")

    def faults(self, faults: Sequence[OrderedFault]) -> None:
        for story, count in count_stories(faults).items():
            self.say(f"{count} × {story}", style="dim")

    def refused(self, refused: Mapping[str, Sequence[str]]) -> None:
        """Orders by what the portal said of them."""
        table = _table("The portal says", "Orders", "What to do")
        for message, references in refused.items():
            others = len(references) - _REFERENCES_SHOWN
            shown = ", ".join(references[:_REFERENCES_SHOWN]) + (f" and {others:,} more" if others > 0 else "")
            table.add_row(escape(message), escape(shown), "Correct it, then run the demo again")
        self.console.print(table)

    @contextmanager
    def progress(self, job: JobState) -> "Iterator[LiveBar]":
        """A bar for one pass over the job; what stays on the screen is its last state."""
        bar = LiveBar(self.console, job)
        is_recording, self.console.record = self.console.record, False  # not every frame, only the last
        try:
            with bar.shown():
                yield bar
        finally:
            self.console.record = is_recording
            bar.print_final()

    def failures(self, groups: Sequence[FailureGroup]) -> None:
        table = _table("What to do", "Items:", "Error", "What the robot said")
        for group in groups:
            for place, message in enumerate(group.messages or [""]):
                table.add_row(
                    _ACTIONS.get(group.action, group.action) if place == 0 else "",
                    str(group.count) if place == 0 else "",
                    group.error_type.lower() if place == 0 else "",
                    escape(message),
                )
        self.console.print(table)

    def rounds(self, rounds: Sequence[Round]) -> None:
        table = _table("", "Items:", "Shipped:", "Failed:", "Time:", "Items/min:")
        for each in rounds:
            table.add_row(
                each.title,
                f"{each.item_count:,}",
                f"{each.success_count:,}",
                f"{each.error_count:,}",
                f"{each.seconds:.1f} s",
                f"{each.items_per_minute:,.0f}",
            )
        self.console.print(table)
        self.console.print()

    def close(self) -> None:
        """Write the picture, if one was asked for."""
        if self._record is not None:
            save_picture(self.console, self._record)


def _table(*columns: str) -> Table:
    """A column whose name ends in a colon holds numbers."""
    table = Table(box=SIMPLE_HEAD, pad_edge=True, show_edge=False, padding=(0, 1, 0, 1), header_style="bold")
    for name in columns:
        is_number = name.endswith(":")
        table.add_column(name.removesuffix(":"), justify="right" if is_number else "left", no_wrap=is_number)
    return table


def count_of(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _one_of_each(plan: DispatchPlan) -> list[PreviewedOrder]:
    """The corrected orders with those first that show a kind of correction for the first time."""
    seen: set[str] = set()
    first: list[PreviewedOrder] = []
    others: list[PreviewedOrder] = []
    for order in plan.corrected:
        code = order.problems[0].code
        (others if code in seen else first).append(order)
        seen.add(code)
    return first + others


class LiveBar:
    """How far a job is, by the stream's last message."""

    def __init__(self, console: Console, job: JobState) -> None:
        self._console = console
        self._job = job
        self._said = job.done_count
        self._progress = Progress(
            TextColumn("  "),
            BarColumn(_BAR_WIDTH),
            MofNCompleteColumn(),
            TextColumn("[green]✓ {task.fields[success]:,} shipped[/]  [red]✗ {task.fields[error]:,} failed[/]"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        with self._progress:
            self._task = self._progress.add_task("", total=self._job.total_items, success=0, error=0)
            self.show(self._job)
            yield

    def show(self, job: JobState) -> None:
        self._job = job
        if self._task is not None:
            self._progress.update(
                self._task, completed=job.done_count, success=job.success_count, error=job.error_count
            )
        step = max(1, job.total_items // 5)
        is_finished = job.done_count == job.total_items
        if not self._console.is_terminal and not is_finished and job.done_count - self._said >= step:
            self._said = job.done_count
            self._console.print(f"  {self._line()}", highlight=False)

    def print_final(self) -> None:
        bar = ProgressBar(self._job.total_items, self._job.done_count, width=_BAR_WIDTH)
        grid = Table.grid(padding=(0, 1, 0, 0))
        if self._console.is_terminal or self._console.record:
            grid.add_row("  ", bar, Text(self._line()))
            self._console.print(grid)
        else:
            self._console.print(f"  {self._line()}", highlight=False)

    def _line(self) -> str:
        cancelled = f", {self._job.cancelled_count:,} cancelled" if self._job.cancelled_count else ""
        return (
            f"{self._job.done_count:,} of {self._job.total_items:,}: {self._job.success_count:,} shipped, "
            f"{self._job.error_count:,} failed{cancelled}"
        )
