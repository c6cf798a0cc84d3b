"""Which keys are remembered as good: for a while, and no more of them than allowed."""

from api.good_keys import GOOD_FOR_S, GoodKeys
from domain.api_keys import PresentedKey, make_secret
from tests.api.test_rate_limit import Clock


def made_up() -> PresentedKey:
    return PresentedKey.of(make_secret())


def test_a_key_is_remembered_for_a_while() -> None:
    clock = Clock()
    keys, key = GoodKeys(clock=clock), made_up()
    assert not keys.has(key)

    keys.add(key)

    assert keys.has(key)
    clock.now += GOOD_FOR_S
    assert not keys.has(key)
    keys.add(key)
    assert keys.has(key)


def test_of_too_many_keys_the_oldest_is_forgotten() -> None:
    keys, (first, second, third) = GoodKeys(remembered=2), (made_up(), made_up(), made_up())
    keys.add(first)
    keys.add(second)
    keys.add(first)

    keys.add(third)

    assert [keys.has(first), keys.has(second), keys.has(third)] == [True, False, True]
