"""Envelope encryption: each secret under a data key of its own, which is wrapped by a key from outside the database.

AES-256-GCM twice, with fresh nonces.  What a secret is bound to (its table and its row's key) is authenticated with
both, so a ciphertext or a wrapped key that was moved to another row does not open there.  Changing the outer key
rewraps the data keys alone; the secrets themselves are not touched.  See docs/decisions/0008.
"""

import base64
import binascii
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
_HIGHEST_VERSION = 2**31 - 1  # the column is an integer
_ENTRY = re.compile(r"([1-9][0-9]{0,9}):([A-Za-z0-9+/_-]+={0,2})")


class InvalidKeyRing(ValueError):
    """What is wrong with a text that should be a key ring; it quotes nothing of it."""


class EnvelopeUnreadable(Exception):
    """The envelope does not open: its key is not in the ring, or it is not what was sealed for that row."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys that wrap data keys, by version.  The newest wraps; the older ones still unwrap."""

    keys: Mapping[int, bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `2:base64,1:base64`, in any order; each key is 32 bytes.  Raises InvalidKeyRing."""
        keys: dict[int, bytes] = {}
        for number, entry in enumerate((part.strip() for part in text.split(",")), start=1):
            found = _ENTRY.fullmatch(entry)
            if found is None or int(found[1]) > _HIGHEST_VERSION:
                raise InvalidKeyRing(f"entry {number} is not of the form version:base64, such as 1:…")
            version, key = int(found[1]), _decoded(found[2])
            if key is None or len(key) != KEY_BYTES:
                raise InvalidKeyRing(f"the key of version {version} is not {KEY_BYTES} bytes in base64")
            if version in keys:
                raise InvalidKeyRing(f"version {version} is there twice")
            if key in keys.values():
                raise InvalidKeyRing(f"the key of version {version} is another version's too")
            keys[version] = key
        return cls(keys)

    @classmethod
    def with_new_key(cls, old: "KeyRing | None" = None) -> Self:
        """The old ring and a fresh key, which is the newest."""
        keys = dict(old.keys) if old is not None else {}
        return cls({**keys, max(keys, default=0) + 1: secrets.token_bytes(KEY_BYTES)})

    @property
    def newest(self) -> int:
        """The version that wraps."""
        return max(self.keys)

    def as_text(self) -> str:
        """What `parse` reads, the newest first."""
        return ",".join(
            f"{version}:{base64.b64encode(self.keys[version]).decode()}" for version in sorted(self.keys, reverse=True)
        )


@dataclass(frozen=True, slots=True)
class Envelope:
    """A sealed secret.  Useless without the key ring, and anywhere but where it was sealed for."""

    key_version: int
    wrapped_key: bytes
    wrapped_key_nonce: bytes
    ciphertext: bytes
    nonce: bytes


def seal(key_ring: KeyRing, secret: str, *, bound_to: tuple[str, ...]) -> Envelope:
    """Encrypt under a fresh data key, wrapped by the ring's newest key."""
    data_key = AESGCM.generate_key(bit_length=8 * KEY_BYTES)
    nonce = secrets.token_bytes(NONCE_BYTES)
    ciphertext = AESGCM(data_key).encrypt(nonce, secret.encode(), _associated("secret", bound_to))
    wrapped_key, wrapped_key_nonce = _wrap(key_ring, data_key, bound_to)
    return Envelope(key_ring.newest, wrapped_key, wrapped_key_nonce, ciphertext, nonce)


def unseal(key_ring: KeyRing, envelope: Envelope, *, bound_to: tuple[str, ...]) -> str:
    """The secret.  Raises EnvelopeUnreadable: there is no wrong answer."""
    data_key = _unwrap(key_ring, envelope, bound_to)
    try:
        plain = AESGCM(data_key).decrypt(envelope.nonce, envelope.ciphertext, _associated("secret", bound_to))
    except (InvalidTag, ValueError):
        raise EnvelopeUnreadable("its ciphertext or nonce is not what was sealed for this row") from None
    return plain.decode()


def rewrap(key_ring: KeyRing, envelope: Envelope, *, bound_to: tuple[str, ...]) -> Envelope:
    """The same secret with its data key under the ring's newest key.  Raises EnvelopeUnreadable.

    The secret is not decrypted.
    """
    wrapped_key, wrapped_key_nonce = _wrap(key_ring, _unwrap(key_ring, envelope, bound_to), bound_to)
    return replace(envelope, key_version=key_ring.newest, wrapped_key=wrapped_key, wrapped_key_nonce=wrapped_key_nonce)


def _wrap(key_ring: KeyRing, data_key: bytes, bound_to: tuple[str, ...]) -> tuple[bytes, bytes]:
    version = key_ring.newest
    nonce = secrets.token_bytes(NONCE_BYTES)
    return AESGCM(key_ring.keys[version]).encrypt(nonce, data_key, _associated(f"key {version}", bound_to)), nonce


def _unwrap(key_ring: KeyRing, envelope: Envelope, bound_to: tuple[str, ...]) -> bytes:
    version = envelope.key_version
    key = key_ring.keys.get(version)
    if key is None:
        raise EnvelopeUnreadable(f"key version {version} is not in the key ring")
    try:
        return AESGCM(key).decrypt(
            envelope.wrapped_key_nonce, envelope.wrapped_key, _associated(f"key {version}", bound_to)
        )
    except (InvalidTag, ValueError):
        raise EnvelopeUnreadable(f"its data key is not what key version {version} wrapped for this row") from None


def _associated(part: str, bound_to: tuple[str, ...]) -> bytes:
    """What is authenticated besides; as JSON, so that no two lists of texts are the same bytes."""
    return json.dumps(["robot-jobs", part, *bound_to]).encode()


def _decoded(text: str) -> bytes | None:
    """Either alphabet of base64, strictly."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None
