"""`python -m tests.benchmarks.sampling FILE serve …`: the API, noting where it is after each millisecond of work.

From SIGUSR1 to SIGUSR2; then FILE holds the shares.  What a function in C costs is noted where it was called.
"""

import gc
import json
import runpy
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import TypedDict

EVERY_S = 0.001  # of the processor's time, not of the clock's
DEPTH_AT_MOST = 60
KEPT = 60


class Shares(TypedDict):
    """Of all samples, by name, the largest first."""

    at: list[tuple[str, float]]
    """The line that was being executed."""
    within: list[tuple[str, float]]
    """The function that was, or one that it had called."""
    collecting: float
    """The garbage collector's share, which is noted with whoever happened to be at it."""


class Sampler:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._at: Counter[tuple[CodeType, int]] = Counter()
        self._within: Counter[CodeType] = Counter()
        self._worked_s = self._collected_s = 0.0
        self._started_at = self._collecting_at = 0.0

    def start(self, *_: object) -> None:
        self._started_at = time.process_time()
        gc.callbacks.append(self.collect)
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)

    def stop(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        gc.callbacks.remove(self.collect)
        self._worked_s += time.process_time() - self._started_at
        samples = max(1, self._at.total())
        shares = Shares(
            at=[(f"{_name(code)}, {line}", n / samples) for (code, line), n in self._at.most_common(KEPT)],
            within=[(_name(code), n / samples) for code, n in self._within.most_common(KEPT)],
            collecting=self._collected_s / self._worked_s,
        )
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps(shares), encoding="utf-8")
        partial.rename(self._file)

    def collect(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_at = time.process_time()
        else:
            self._collected_s += time.process_time() - self._collecting_at

    def sample(self, _: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self._at[frame.f_code, frame.f_lineno] += 1
        seen: set[CodeType] = set()
        above: FrameType | None = frame
        while above is not None and len(seen) < DEPTH_AT_MOST:
            seen.add(above.f_code)
            above = above.f_back
        self._within.update(seen)


def _name(code: CodeType) -> str:
    return f"{'/'.join(Path(code.co_filename).parts[-2:])} {code.co_qualname}"


if __name__ == "__main__":
    sampler = Sampler(Path(sys.argv.pop(1)))
    signal.signal(signal.SIGUSR1, sampler.start)
    signal.signal(signal.SIGUSR2, sampler.stop)
    signal.signal(signal.SIGPROF, sampler.sample)
    runpy.run_module("api", run_name="__main__")
