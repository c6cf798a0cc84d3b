"""Envelope encryption: opens where it was sealed and nowhere else; key rings are read strictly and shown never."""

import base64
from dataclasses import fields, replace
from typing import Any

import pytest

from domain.envelopes import (
    Envelope,
    EnvelopeUnreadable,
    InvalidKeyRing,
    KeyRing,
    _unwrap,
    _wrap,
    rewrap,
    seal,
    unseal,
)

ONE = base64.b64encode(b"1" * 32).decode()
TWO = base64.b64encode(b"2" * 32).decode()
HERE = ("a table", "a row")
ELSEWHERE = ("a table", "another row")


@pytest.fixture
def key_ring() -> KeyRing:
    return KeyRing.with_new_key()


@pytest.mark.parametrize("secret", ["x", "contraseña 🔑", " blanks ", "y" * 500])
def test_what_is_sealed_opens_where_it_was_sealed(key_ring: KeyRing, secret: str) -> None:
    assert unseal(key_ring, seal(key_ring, secret, bound_to=HERE), bound_to=HERE) == secret


def test_the_same_secret_twice_shares_nothing(key_ring: KeyRing) -> None:
    one, other = (seal(key_ring, "the same", bound_to=HERE) for _ in range(2))

    for name in ("wrapped_key", "wrapped_key_nonce", "ciphertext", "nonce"):
        assert getattr(one, name) != getattr(other, name), name
    assert (len(one.nonce), len(one.wrapped_key_nonce)) == (12, 12)


def test_it_does_not_open_elsewhere(key_ring: KeyRing) -> None:
    envelope = seal(key_ring, "secret", bound_to=HERE)

    with pytest.raises(EnvelopeUnreadable):
        unseal(key_ring, envelope, bound_to=ELSEWHERE)
    with pytest.raises(EnvelopeUnreadable):
        rewrap(key_ring, envelope, bound_to=ELSEWHERE)


def test_texts_that_run_together_are_still_different_places(key_ring: KeyRing) -> None:
    with pytest.raises(EnvelopeUnreadable):
        unseal(key_ring, seal(key_ring, "secret", bound_to=("a", "b")), bound_to=("ab",))


def test_the_ciphertext_is_bound_for_itself(key_ring: KeyRing) -> None:
    """Even where somebody has wrapped its data key for another row."""
    envelope = seal(key_ring, "secret", bound_to=HERE)
    wrapped_key, nonce = _wrap(key_ring, _unwrap(key_ring, envelope, HERE), ELSEWHERE)

    with pytest.raises(EnvelopeUnreadable, match="its ciphertext"):
        unseal(key_ring, replace(envelope, wrapped_key=wrapped_key, wrapped_key_nonce=nonce), bound_to=ELSEWHERE)


@pytest.mark.parametrize("part", [field.name for field in fields(Envelope)])
def test_each_part_of_another_envelope_is_noticed(part: str) -> None:
    key_ring = KeyRing.with_new_key(KeyRing.with_new_key())
    envelope = seal(key_ring, "secret", bound_to=HERE)
    other = replace(seal(key_ring, "another", bound_to=HERE), key_version=1)

    with pytest.raises(EnvelopeUnreadable):
        unseal(key_ring, replace(envelope, **{part: getattr(other, part)}), bound_to=HERE)


@pytest.mark.parametrize("part", ["wrapped_key", "wrapped_key_nonce", "ciphertext", "nonce"])
def test_a_flipped_or_a_missing_bit_is_noticed(key_ring: KeyRing, part: str) -> None:
    envelope = seal(key_ring, "secret", bound_to=HERE)
    whole: bytes = getattr(envelope, part)
    for changed in (bytes([whole[0] ^ 1]) + whole[1:], whole[:-1], b""):
        changes: dict[str, Any] = {part: changed}
        with pytest.raises(EnvelopeUnreadable):
            unseal(key_ring, replace(envelope, **changes), bound_to=HERE)


def test_the_version_of_the_key_is_authenticated() -> None:
    """Even where the same key stands under two versions, as in a ring that was put together by hand."""
    same = KeyRing({1: b"k" * 32, 2: b"k" * 32})
    envelope = seal(same, "secret", bound_to=HERE)

    with pytest.raises(EnvelopeUnreadable):
        unseal(same, replace(envelope, key_version=1), bound_to=HERE)


def test_rewrapping_changes_the_wrapped_key_alone() -> None:
    old = KeyRing.with_new_key()
    new = KeyRing.with_new_key(old)
    envelope = seal(old, "secret", bound_to=HERE)

    renewed = rewrap(new, envelope, bound_to=HERE)

    assert (envelope.key_version, renewed.key_version) == (1, 2)
    assert (renewed.ciphertext, renewed.nonce) == (envelope.ciphertext, envelope.nonce)
    assert renewed.wrapped_key_nonce != envelope.wrapped_key_nonce
    only_new = KeyRing({2: new.keys[2]})
    assert unseal(only_new, renewed, bound_to=HERE) == "secret"
    with pytest.raises(EnvelopeUnreadable, match="key version 1 is not in the key ring"):
        unseal(only_new, envelope, bound_to=HERE)


def test_a_ring_is_read_in_any_order_and_its_newest_key_wraps() -> None:
    for text in (f"2:{TWO},1:{ONE}", f" 1:{ONE} , 2:{TWO} "):
        key_ring = KeyRing.parse(text)
        assert key_ring == KeyRing({1: b"1" * 32, 2: b"2" * 32})
        assert key_ring.newest == 2
        assert key_ring.as_text() == f"2:{TWO},1:{ONE}"


def test_both_alphabets_of_base64_are_read() -> None:
    key = b"\xfb\xff" * 16

    assert KeyRing.parse(f"1:{base64.urlsafe_b64encode(key).decode()}").keys == {1: key}
    assert KeyRing.parse(f"1:{base64.b64encode(key).decode()}").keys == {1: key}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "entry 1 is not of the form"),
        (ONE, "entry 1 is not of the form"),
        (f"1:{ONE},", "entry 2 is not of the form"),
        (f"0:{ONE}", "entry 1 is not of the form"),
        (f"-1:{ONE}", "entry 1 is not of the form"),
        (f"01:{ONE}", "entry 1 is not of the form"),
        (f"9999999999:{ONE}", "entry 1 is not of the form"),
        (f"1:{ONE[:-4]}", "the key of version 1 is not 32 bytes"),
        (f"1:{ONE[:-1]}", "the key of version 1 is not 32 bytes"),
        (f"1:{base64.b64encode(b'k' * 33).decode()}", "the key of version 1 is not 32 bytes"),
        (f"1:{ONE},1:{TWO}", "version 1 is there twice"),
        (f"2:{ONE},1:{ONE}", "the key of version 1 is another version's too"),
    ],
)
def test_a_wrong_ring_is_named_and_not_quoted(text: str, said: str) -> None:
    with pytest.raises(InvalidKeyRing, match=said) as refused:
        KeyRing.parse(text)

    assert ONE[:10] not in str(refused.value)


def test_a_new_key_keeps_the_old_ones() -> None:
    old = KeyRing.with_new_key()
    new = KeyRing.with_new_key(old)

    assert old.newest == 1
    assert new.keys[1] == old.keys[1]
    assert KeyRing.parse(new.as_text()) == new


def test_a_ring_shows_no_key() -> None:
    assert repr(KeyRing.parse(f"1:{ONE}")) == "KeyRing()"
