"""`python -m tests.skewed SECONDS serve …`: robot-jobs in a process whose clock is off by so much.

Its wall clock alone, as a wrongly set machine has it: what counts from when the process began goes on as ever.
"""

import datetime
import sys
import time
from datetime import datetime as RealDatetime  # noqa: N812 -- the class
from typing import Any


def skew(seconds: float) -> None:
    """For everything that is imported afterwards."""
    real_time = time.time
    offset = datetime.timedelta(seconds=seconds)

    class OfBoth(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, RealDatetime)

    class Skewed(RealDatetime, metaclass=OfBoth):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return RealDatetime.now(tz) + offset

    time.time = lambda: real_time() + seconds
    time.time_ns = lambda: int((real_time() + seconds) * 1e9)
    datetime.datetime = Skewed  # type: ignore[misc]  # that is the point


if __name__ == "__main__":
    skew(float(sys.argv.pop(1)))
    from api.cli import main

    main()
