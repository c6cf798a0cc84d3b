"""Keys of an issuer: fetched from a real HTTP server, kept, rotated, and what a bad server or a forger can do."""

import asyncio
import base64
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from api.settings import SettingsError, load_settings
from api.tokens import IssuerKeys, Tokens, load_tokens
from api.tokens.issuer_keys import (
    LARGEST_ANSWER,
    REFETCH_AT_MOST_EVERY_S,
    REFRESH_AFTER_S,
    WAIT_FOR_REFRESH_AFTER_S,
    parse_keys,
)
from schema.principals import AuthenticationUnavailable, Principal, Unauthenticated
from tests.servers import until

ISSUER = "https://login.example/"
AUDIENCE = "robot-jobs"
SECRET = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key of the issuer, with what its JWKS says of the public one."""

    kid: str | None
    algorithm: str
    private: Any

    @property
    def jwk(self) -> dict[str, Any]:
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        found: dict[str, Any] = algorithm.to_jwk(self.private.public_key(), as_dict=True)
        named = {"kid": self.kid} if self.kid is not None else {}
        return {name: value for name, value in found.items() if name != "key_ops"} | named | {"use": "sig"}

    @property
    def pem(self) -> str:
        return str(
            self.private.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def sign(self, *, header: dict[str, Any] | None = None, **claims: object) -> str:
        now = dt.datetime.now(dt.UTC)
        good = {"sub": "ana", "exp": now + dt.timedelta(hours=1), "iss": ISSUER, "aud": AUDIENCE}
        named = {"kid": self.kid} if self.kid is not None else {}
        return jwt.encode(good | claims, self.private, algorithm=self.algorithm, headers=named | (header or {}))


def rsa_key(kid: str | None = "rsa", bits: int = 2_048) -> SigningKey:
    return SigningKey(kid, "RS256", rsa.generate_private_key(65_537, bits))


RSA = rsa_key()
EC = SigningKey("ec", "ES256", ec.generate_private_key(ec.SECP256R1()))
ED = SigningKey("ed", "EdDSA", ed25519.Ed25519PrivateKey.generate())


@dataclass(slots=True)
class Issuer:
    """A real HTTP server with a JWKS; `answer` makes it misbehave."""

    url: str = ""
    keys: list[SigningKey] = field(default_factory=lambda: [RSA, EC, ED])
    asked: int = 0
    answer: bytes | None = None
    hangs: bool = False
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            if self.hangs:
                await self.may_answer.wait()
            writer.write(self.answer if self.answer is not None else ok(self.body()))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def body(self) -> bytes:
        return json.dumps({"keys": [key.jwk for key in self.keys]}).encode()


def ok(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def served(issuer: Issuer, port: int = 0) -> AsyncIterator[Issuer]:
    server = await asyncio.start_server(issuer.handle, "127.0.0.1", port)
    issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"
    try:
        yield issuer
    finally:
        issuer.may_answer.set()
        server.close()
        await server.wait_closed()


@pytest.fixture
async def issuer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Issuer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with served(Issuer()) as issuer:
        yield issuer


class Clock:
    """Time passes when told to."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(issuer: Issuer, clock: Clock) -> Tokens:
    return Tokens(SECRET, ISSUER, AUDIENCE, IssuerKeys(issuer.url, clock=clock))


async def user_of(tokens: Tokens, token: str) -> str:
    found = await tokens.principal({"authorization": f"Bearer {token}"})
    assert isinstance(found, Principal)
    return found.user_id


async def refused(tokens: Tokens, token: str) -> None:
    with pytest.raises(Unauthenticated):
        await user_of(tokens, token)


# ---------------------------------------------------------------------------------------------- good ones


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.algorithm)
async def test_a_token_signed_by_the_issuer_is_good_and_a_known_key_costs_no_network(
    tokens: Tokens, issuer: Issuer, key: SigningKey
) -> None:
    for number in range(5):
        assert await user_of(tokens, key.sign(sub=f"user {number}")) == f"user {number}"

    assert issuer.asked == 1


async def test_the_secret_and_the_issuer_are_good_side_by_side(tokens: Tokens) -> None:
    assert await user_of(tokens, tokens.make("bea", lifetime=dt.timedelta(hours=1))) == "bea"
    assert await user_of(tokens, RSA.sign()) == "ana"


async def test_without_a_secret_no_hs256_token_is_good(issuer: Issuer, tokens: Tokens) -> None:
    by_issuer_alone = Tokens(None, ISSUER, AUDIENCE, IssuerKeys(issuer.url))

    await refused(by_issuer_alone, tokens.make("bea", lifetime=dt.timedelta(hours=1)))
    with pytest.raises(SettingsError, match="ROBOT_JOBS_JWT_SECRET"):
        by_issuer_alone.make("bea", lifetime=dt.timedelta(hours=1))


async def test_without_an_issuer_no_asymmetric_token_is_good(tokens: Tokens) -> None:
    await refused(Tokens(SECRET, ISSUER, AUDIENCE), RSA.sign())


async def test_a_token_without_a_name_is_good_where_there_is_one_key_for_its_algorithm(
    issuer: Issuer, tokens: Tokens
) -> None:
    issuer.keys = [RSA, EC, SigningKey("ec 2", "ES256", ec.generate_private_key(ec.SECP256R1()))]

    assert await user_of(tokens, SigningKey(None, "RS256", RSA.private).sign()) == "ana"
    await refused(tokens, SigningKey(None, "ES256", EC.private).sign())
    assert await user_of(tokens, EC.sign()) == "ana"


# ---------------------------------------------------------------------------------------------- bad ones


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"exp": dt.datetime.now(dt.UTC) - dt.timedelta(seconds=2)}, id="expired"),
        pytest.param({"iss": "https://another.example/"}, id="another issuer"),
        pytest.param({"iss": None}, id="issuer null"),
        pytest.param({"aud": "another program"}, id="another audience"),
        pytest.param({"nbf": dt.datetime.now(dt.UTC) + dt.timedelta(days=1)}, id="not yet good"),
        pytest.param({"sub": "key:01980000-0000-7000-8000-00000000de30"}, id="sub is a key's"),
    ],
)
async def test_claims_are_checked_whoever_signed(tokens: Tokens, claims: dict[str, Any]) -> None:
    given = {name: value for name, value in claims.items() if value is not None}
    token = RSA.sign(**given) if given else RSA.sign(iss="")

    await refused(tokens, token)


async def test_clocks_may_differ_by_ten_seconds(tokens: Tokens) -> None:
    now = dt.datetime.now(dt.UTC)

    assert await user_of(tokens, RSA.sign(iat=now + dt.timedelta(seconds=8), nbf=now + dt.timedelta(seconds=8)))
    await refused(tokens, RSA.sign(nbf=now + dt.timedelta(seconds=14)))


def by_hand(header: dict[str, Any], secret: bytes) -> str:
    """Signed by HMAC with whatever bytes."""
    claims = {"sub": "ana", "exp": 4_000_000_000, "iss": ISSUER, "aud": AUDIENCE}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signature = hmac.digest(secret, b".".join(parts), hashlib.sha256)
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.algorithm)
@pytest.mark.parametrize("secret", [SECRET, None], ids=["with a secret", "without"])
async def test_a_public_key_is_no_secret(issuer: Issuer, key: SigningKey, secret: str | None) -> None:
    tokens = Tokens(secret, ISSUER, AUDIENCE, IssuerKeys(issuer.url))
    raw = key.private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert await user_of(tokens, key.sign()) == "ana"

    for material in (key.pem.encode(), key.pem.strip().encode(), raw, json.dumps(key.jwk).encode()):
        for algorithm in ("HS256", "RS256", "ES256", "EdDSA", "HS512", "none", "hs256"):
            await refused(tokens, by_hand({"alg": algorithm, "kid": key.kid}, material))


async def test_the_secret_signs_for_no_other_algorithm(tokens: Tokens) -> None:
    assert await user_of(tokens, by_hand({"alg": "HS256"}, SECRET.encode())) == "ana"

    for algorithm in ("RS256", "ES256", "EdDSA", "none", "HS384"):
        await refused(tokens, by_hand({"alg": algorithm, "kid": "rsa"}, SECRET.encode()))


async def test_a_key_is_good_for_its_own_algorithm_alone(tokens: Tokens) -> None:
    for algorithm in ("RS512", "PS256", "RS384"):
        await refused(tokens, SigningKey("rsa", algorithm, RSA.private).sign())
    await refused(tokens, SigningKey("ec", "RS256", RSA.private).sign())


async def test_a_stranger_cannot_bring_the_own_key(tokens: Tokens) -> None:
    stranger = rsa_key()

    await refused(tokens, stranger.sign())
    await refused(tokens, stranger.sign(header={"jwk": stranger.jwk}))
    await refused(tokens, stranger.sign(header={"jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"}))


async def test_a_shared_secret_that_the_issuer_publishes_is_no_key(issuer: Issuer) -> None:
    secret = b"published, so known to everybody"
    oct_jwk = {"kty": "oct", "kid": "oct", "alg": "HS256", "k": base64.urlsafe_b64encode(secret).decode().rstrip("=")}
    issuer.answer = ok(json.dumps({"keys": [oct_jwk, RSA.jwk]}).encode())
    tokens = Tokens(None, ISSUER, AUDIENCE, IssuerKeys(issuer.url))

    await refused(tokens, by_hand({"alg": "HS256", "kid": "oct"}, secret))
    assert await user_of(tokens, RSA.sign()) == "ana"


# ---------------------------------------------------------------------------------------------- rotation


async def test_a_new_key_is_found_at_once_and_a_dropped_one_is_good_no_more(
    tokens: Tokens, issuer: Issuer, clock: Clock
) -> None:
    assert await user_of(tokens, RSA.sign()) == "ana"
    new = rsa_key("new")
    issuer.keys = [new]
    clock.now_s += REFETCH_AT_MOST_EVERY_S

    assert await user_of(tokens, new.sign()) == "ana"
    await refused(tokens, RSA.sign())
    assert issuer.asked == 2


async def test_old_keys_are_fetched_anew_without_making_anybody_wait(
    tokens: Tokens, issuer: Issuer, clock: Clock
) -> None:
    await user_of(tokens, RSA.sign())
    issuer.keys, issuer.hangs = [EC], True
    clock.now_s += REFRESH_AFTER_S + 1

    for _ in range(3):
        assert await user_of(tokens, RSA.sign()) == "ana"
    issuer.may_answer.set()
    await until(lambda: issuer.asked == 2 and tokens.keys is not None and tokens.keys._fetching is None)

    await refused(tokens, RSA.sign())
    assert issuer.asked == 2


async def test_very_old_keys_are_not_used_before_the_issuer_was_asked(
    tokens: Tokens, issuer: Issuer, clock: Clock
) -> None:
    await user_of(tokens, RSA.sign())
    issuer.keys = [EC]
    clock.now_s += WAIT_FOR_REFRESH_AFTER_S + 1

    await refused(tokens, RSA.sign())
    assert await user_of(tokens, EC.sign()) == "ana"


async def test_a_flood_of_unknown_names_does_not_flood_the_issuer(tokens: Tokens, issuer: Issuer, clock: Clock) -> None:
    await user_of(tokens, RSA.sign())

    async def flood() -> None:
        await asyncio.gather(*(refused(tokens, RSA.sign(header={"kid": f"unknown {n}"})) for n in range(100)))

    await flood()
    assert issuer.asked == 1, "the first fetch was a moment ago"
    clock.now_s += REFETCH_AT_MOST_EVERY_S
    await flood()
    assert issuer.asked == 2
    assert await user_of(tokens, RSA.sign()) == "ana"


async def test_all_who_wait_for_the_first_keys_share_one_fetch(tokens: Tokens, issuer: Issuer) -> None:
    issuer.hangs = True
    first = asyncio.create_task(user_of(tokens, RSA.sign()))
    others = [asyncio.create_task(user_of(tokens, RSA.sign())) for _ in range(50)]
    await until(lambda: issuer.asked)

    first.cancel()  # who goes away does not take the fetch along
    issuer.may_answer.set()

    assert await asyncio.gather(*others) == ["ana"] * 50
    assert issuer.asked == 1


# ---------------------------------------------------------------------------------------------- bad servers

_GOOD = json.dumps({"keys": [RSA.jwk]}).encode()
MISBEHAVING = {
    "error": b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00",
    "nothing": b"",
    "no JSON": ok(b"<html>"),
    "no object": ok(b"5"),
    "deep": ok(b"[" * 100_000),
    "no keys": ok(b'{"keys": []}'),
    "keys are no list": ok(b'{"keys": {"kty": "RSA"}}'),
    "keys are no keys": ok(b'{"keys": [5, null, [], {}, {"kty": "RSA"}, {"kty": "RSA", "n": 5, "e": []}]}'),
    "not UTF-8": ok(b'{"keys": "\xff"}'),
    "oversized": ok(_GOOD + b" " * LARGEST_ANSWER),
    "endless": b"HTTP/1.1 200 OK\r\n\r\n" + _GOOD + b" " * LARGEST_ANSWER,
    "compressed": ok(b"\x1f\x8b", "Content-Encoding: gzip"),
}


@pytest.mark.parametrize("how", MISBEHAVING)
async def test_an_answer_that_is_no_jwks_leaves_the_known_keys_good(
    tokens: Tokens, issuer: Issuer, clock: Clock, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    await user_of(tokens, RSA.sign())
    issuer.answer = MISBEHAVING[how]
    clock.now_s += REFETCH_AT_MOST_EVERY_S

    with pytest.raises(AuthenticationUnavailable):
        await user_of(tokens, RSA.sign(header={"kid": "unknown"}))

    assert await user_of(tokens, RSA.sign()) == "ana"
    assert "the 6 known stay good" in caplog.text
    issuer.answer = None
    clock.now_s += REFETCH_AT_MOST_EVERY_S
    await refused(tokens, RSA.sign(header={"kid": "unknown"}))


async def test_a_slow_issuer_is_given_up_within_the_time_limit(tokens: Tokens, issuer: Issuer) -> None:
    issuer.hangs = True
    clock = asyncio.get_running_loop().time
    started = clock()

    with pytest.raises(AuthenticationUnavailable):
        await user_of(tokens, RSA.sign())

    assert 1.5 < clock() - started < 10
    with pytest.raises(AuthenticationUnavailable):
        await user_of(tokens, RSA.sign())
    assert issuer.asked == 1


async def test_a_dead_issuer_is_tolerated_for_known_keys_for_ever(
    tokens: Tokens, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with served(Issuer()) as issuer:
        port = int(issuer.url.rpartition(":")[2].partition("/")[0])
        tokens = Tokens(None, ISSUER, AUDIENCE, IssuerKeys(issuer.url, clock=clock))
        await user_of(tokens, RSA.sign())

    for _ in range(3):
        clock.now_s += WAIT_FOR_REFRESH_AFTER_S + 1
        assert await user_of(tokens, RSA.sign()) == "ana"
    with pytest.raises(AuthenticationUnavailable, match="cannot be reached"):
        await user_of(tokens, RSA.sign(header={"kid": "unknown"}))
    assert "no keys from" in caplog.text
    clock.now_s += REFETCH_AT_MOST_EVERY_S
    new = rsa_key("new")
    async with served(Issuer(keys=[new]), port):
        assert await user_of(tokens, new.sign()) == "ana"


async def test_no_token_is_good_while_no_key_was_ever_had(clock: Clock) -> None:
    tokens = Tokens(SECRET, ISSUER, AUDIENCE, IssuerKeys("http://127.0.0.1:1/", clock=clock))

    with pytest.raises(AuthenticationUnavailable) as unavailable:
        await user_of(tokens, RSA.sign())

    assert unavailable.value.code == "SERVICE_UNAVAILABLE"
    assert await user_of(tokens, tokens.make("bea", lifetime=dt.timedelta(hours=1))) == "bea"


# ---------------------------------------------------------------------------------------------- what a JWKS holds


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"alg": "RS512"},
        {"alg": "HS256"},
        {"alg": None},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"kid": 5},
        {"kty": "oct", "k": "AAAA"},
        {"kty": ["RSA"]},
        {"n": "AQAB"},
    ],
    ids=str,
)
def test_what_is_no_key_for_signatures_is_skipped(change: dict[str, Any]) -> None:
    body = json.dumps({"keys": [RSA.jwk | {"kid": "first"} | change, EC.jwk]}).encode()

    assert set(parse_keys(body)) == {("ec", "ES256"), (None, "ES256")}


def test_a_private_key_and_a_short_one_are_skipped() -> None:
    private = jwt.get_algorithm_by_name("RS256").to_jwk(RSA.private, as_dict=True)
    short = rsa_key("short", bits=1_024).jwk

    with pytest.raises(ValueError, match="holds no key"):
        parse_keys(json.dumps({"keys": [{**private, "key_ops": ["sign", "verify"]}, short]}).encode())


def test_the_first_of_two_keys_of_one_name_counts() -> None:
    other = rsa_key("rsa")

    keys = parse_keys(json.dumps({"keys": [RSA.jwk, other.jwk]}).encode())

    assert keys["rsa", "RS256"] == RSA.private.public_key()
    assert (None, "RS256") not in keys


# ---------------------------------------------------------------------------------------------- settings


def test_an_address_needs_the_issuers_name() -> None:
    settings = load_settings(jwks_url="https://login.example/jwks.json", jwt_issuer=None)

    with pytest.raises(SettingsError, match="ROBOT_JOBS_JWT_ISSUER: is required with ROBOT_JOBS_JWKS_URL"):
        load_tokens(settings, may_make_secret=False)


def test_an_address_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOT_JOBS_JWT_SECRET", raising=False)
    settings = load_settings(jwks_url="https://login.example/jwks.json", jwt_issuer=ISSUER, jwt_audience=AUDIENCE)

    tokens = load_tokens(settings, may_make_secret=False)

    assert (tokens.secret, tokens.issuer, tokens.audience) == (None, ISSUER, AUDIENCE)
    assert tokens.keys is not None


@pytest.mark.parametrize(
    "url", ["http://login.example/jwks", "login.example", "file:///etc/passwd", "https://", "http://[x"]
)
def test_an_address_that_others_could_answer_for_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="ROBOT_JOBS_JWKS_URL"):
        load_settings(jwks_url=url)
