"""The public keys of whoever issues people's tokens: fetched from a JWKS address, kept, and fetched anew in time."""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from schema.principals import AuthenticationUnavailable

logger = logging.getLogger("robot_jobs.issuer_keys")

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
Keys = Mapping[tuple[str | None, str], PublicKey]

ALGORITHMS = frozenset({"RS256", "ES256", "EdDSA"})
REFRESH_AFTER_S = 300.0
WAIT_FOR_REFRESH_AFTER_S = 3_600.0
REFETCH_AT_MOST_EVERY_S = 5.0
TIME_LIMIT_S = 2.0
LARGEST_ANSWER = 256 * 1024
SMALLEST_RSA_BITS = 2_048


class IssuerKeys:
    """Finds keys without network while they are known and young.

    Old keys are fetched anew behind the back of those who ask; very old ones before they are used again, for an issuer
    may have dropped a stolen one.  An unknown key is a reason to fetch, but not at every flood: never twice within
    `REFETCH_AT_MOST_EVERY_S`, and all who wait share one fetch.  When the address is dead, what is known stays good.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._keys: Keys = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._has_failed = False
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: object, algorithm: str) -> PublicKey | None:
        """The issuer's key of that name for that algorithm; without a name, the only one there is for it.

        Raises AuthenticationUnavailable when it is not known here and the issuer cannot be asked.
        """
        if not isinstance(kid, str | None):
            return None
        age_s = self._clock() - self._fetched_at if self._fetched_at is not None else None
        found = self._keys.get((kid, algorithm))
        if found is None or age_s is None or (age_s > WAIT_FOR_REFRESH_AFTER_S and not self._has_failed):
            await self._fetched()
            found = self._keys.get((kid, algorithm))
        elif age_s > REFRESH_AFTER_S:
            self._begin()
        if found is None and self._has_failed:
            raise AuthenticationUnavailable("The issuer of tokens cannot be reached now; try again in a moment.")
        return found

    async def _fetched(self) -> None:
        """Wait for a fetch, the running one or a new one; for none when the last was a moment ago."""
        task = self._begin()
        if task is not None:
            await asyncio.shield(task)  # who goes away does not take it from the others

    def _begin(self) -> "asyncio.Task[None] | None":
        if self._fetching is not None:
            return self._fetching
        now = self._clock()
        if self._tried_at is not None and now - self._tried_at < REFETCH_AT_MOST_EVERY_S:
            return None
        self._tried_at = now
        self._fetching = asyncio.get_running_loop().create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(TIME_LIMIT_S):
                keys = parse_keys(await _get(self._url))
        except (OSError, TimeoutError, httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            self._has_failed = True
            known = f"; the {len(self._keys)} known stay good" if self._keys else ""
            logger.warning("no keys from %s: %s%s", self._url, str(error) or type(error).__name__, known)
        else:
            self._has_failed = False
            self._keys = keys
            self._fetched_at = self._clock()
        finally:
            self._tried_at = self._clock()
            self._fetching = None


async def _get(url: str) -> bytes:
    """The answer's body.  Raises ValueError for one that is too large or is none."""
    # No redirects: the address of the settings is the one that is trusted.
    async with (
        httpx.AsyncClient(verify=_tls(), timeout=TIME_LIMIT_S) as client,
        client.stream("GET", url, headers={"Accept": "application/json", "Accept-Encoding": "identity"}) as answer,
    ):
        if answer.status_code != httpx.codes.OK:
            raise ValueError(f"the answer is {answer.status_code}")
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise ValueError("the answer is compressed, which was not asked for")
        body = bytearray()
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > LARGEST_ANSWER:
                raise ValueError(f"the answer is over {LARGEST_ANSWER:,} bytes")
        return bytes(body)


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def parse_keys(body: bytes) -> Keys:
    """The keys of a JWKS that may verify signatures; others in it are skipped.  Raises ValueError if none is left.

    An algorithm's only key is also found without a name.
    """
    try:
        listed = json.loads(body)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("the answer is no JWKS") from None
    keys: dict[tuple[str | None, str], PublicKey] = {}
    by_algorithm: dict[str, list[PublicKey]] = {}
    for entry in listed if isinstance(listed, list) else ():
        found = _parse_key(entry)
        if found is not None:
            kid, algorithm, key = found
            by_algorithm.setdefault(algorithm, []).append(key)
            if kid is not None:
                keys.setdefault((kid, algorithm), key)
    keys |= {(None, algorithm): each[0] for algorithm, each in by_algorithm.items() if len(each) == 1}
    if not keys:
        raise ValueError("the JWKS holds no key that can be used")
    return keys


def _parse_key(entry: Any) -> tuple[str | None, str, PublicKey] | None:
    if not isinstance(entry, dict):
        return None
    match entry:
        case {"kty": "RSA"}:
            algorithm = "RS256"
        case {"kty": "EC", "crv": "P-256"}:
            algorithm = "ES256"
        case {"kty": "OKP", "crv": "Ed25519"}:
            algorithm = "EdDSA"
        case _:  # `oct` above all: a secret that is published is none
            return None
    kid, operations = entry.get("kid"), entry.get("key_ops", ["verify"])
    if (
        not isinstance(kid, str | None)
        or entry.get("use", "sig") != "sig"
        or not (isinstance(operations, list) and "verify" in operations)
        or entry.get("alg", algorithm) != algorithm
    ):
        return None
    try:
        key = jwt.PyJWK(entry, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size >= SMALLEST_RSA_BITS:
        return kid, algorithm, key
    # A private key has no place here: its class is another.
    return (kid, algorithm, key) if isinstance(key, EllipticCurvePublicKey | Ed25519PublicKey) else None
