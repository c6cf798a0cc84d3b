"""Operations per minute: full at first, refilled steadily, all or nothing, and no more memory than allowed."""

import pytest

from api.rate_limit import RateLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def granted(limiter: RateLimiter, caller: str, times: int) -> int:
    return sum(limiter.take(caller) == 0 for _ in range(times))


def test_a_minutes_worth_is_granted_at_once_and_no_more(clock: Clock) -> None:
    limiter = RateLimiter(60, clock=clock)

    assert granted(limiter, "a", 100) == 60
    assert granted(limiter, "b", 100) == 60


def test_it_comes_back_with_time_and_never_beyond_a_minutes_worth(clock: Clock) -> None:
    limiter = RateLimiter(60, clock=clock)
    granted(limiter, "a", 60)

    clock.now += 5
    assert granted(limiter, "a", 100) == 5
    clock.now += 3_600
    assert granted(limiter, "a", 100) == 60


def test_refusal_says_when_it_will_be_granted(clock: Clock) -> None:
    limiter = RateLimiter(60, clock=clock)
    granted(limiter, "a", 60)

    assert limiter.take("a") == pytest.approx(1)
    clock.now += limiter.take("a", 10)
    assert limiter.take("a", 10) == 0


def test_several_are_granted_together_or_not_at_all(clock: Clock) -> None:
    limiter = RateLimiter(10, clock=clock)

    assert limiter.take("a", 8) == 0
    assert limiter.take("a", 8) > 0
    assert granted(limiter, "a", 10) == 2


def test_callers_are_forgotten_when_there_are_too_many(clock: Clock) -> None:
    limiter = RateLimiter(1, clock=clock, remembered=3)
    for caller in "abca":
        limiter.take(caller)

    limiter.take("d")

    assert limiter.take("a") > 0
    assert limiter.take("b") == 0, "not heard of for longest"
    assert len(limiter._left) == 3
