"""Tokens: which are good, and the secret that is made where none is set."""

import base64
import datetime as dt
import hashlib
import hmac
import json
import stat
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest

from api.settings import SettingsError, load_settings
from api.tokens import Tokens, load_tokens
from schema.principals import Principal, Unauthenticated

SECRET = "0123456789abcdef0123456789abcdef"
TOKENS = Tokens(SECRET)
HOUR = dt.timedelta(hours=1)
FUTURE = 4_000_000_000
NONE = b'{"alg":"none"}'


async def principal_of(token: str, tokens: Tokens = TOKENS) -> Principal:
    found = await tokens.principal({"authorization": f"Bearer {token}"})
    assert isinstance(found, Principal)
    return found


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def signed(payload: bytes, header: bytes = b'{"alg":"HS256","typ":"JWT"}', secret: str = SECRET) -> str:
    """A token with whatever in it, and the right signature of HS256."""
    message = f"{encoded(header)}.{encoded(payload)}"
    return f"{message}.{encoded(hmac.digest(secret.encode(), message.encode(), hashlib.sha256))}"


def claims(**given: object) -> bytes:
    return json.dumps({"sub": "ana", "exp": FUTURE} | given).encode()


# ---------------------------------------------------------------------------------------------- good ones


async def test_good_token_names_the_user_until_it_expires() -> None:
    found = await principal_of(TOKENS.make("ana", lifetime=HOUR))

    assert found.user_id == "ana"
    assert found.workspace_id is None
    found.check()
    left = found.expires_at - dt.datetime.now(dt.UTC)
    assert dt.timedelta(minutes=59) < left < dt.timedelta(minutes=61)


async def test_token_signed_by_hand_is_good_as_a_control_for_the_bad_ones() -> None:
    assert (await principal_of(signed(claims()))).user_id == "ana"


async def test_scheme_is_matched_in_any_case_and_no_header_is_nobody() -> None:
    token = TOKENS.make("ana", lifetime=HOUR)

    assert await TOKENS.principal({"authorization": f"bEARER  {token} "}) is not None
    assert await TOKENS.principal({}) is None


@pytest.mark.parametrize("seconds_ago", [1, 15])
async def test_an_expired_token_is_refused_at_once(seconds_ago: int) -> None:
    token = TOKENS.make("ana", lifetime=dt.timedelta(seconds=-seconds_ago))

    with pytest.raises(Unauthenticated, match="has expired"):
        await principal_of(token)


def test_principal_whose_token_has_expired_meanwhile_is_refused() -> None:
    now = dt.datetime.now(dt.UTC)

    Principal("ana", now + HOUR, None).check()
    with pytest.raises(Unauthenticated, match="has expired"):
        Principal("ana", now - dt.timedelta(seconds=1), None).check()


@pytest.mark.parametrize(("text", "meant"), [("", None), ("x", uuid.UUID(int=0)), ("a" * 5_000, uuid.UUID(int=0))])
async def test_workspace_that_is_no_id_is_nobodys(text: str, meant: uuid.UUID | None) -> None:
    headers = {"authorization": f"Bearer {TOKENS.make('ana', lifetime=HOUR)}", "x-workspace-id": text}

    found = await TOKENS.principal(headers)

    assert found is not None
    assert found.workspace_id == meant


# ---------------------------------------------------------------------------------------------- bad ones


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(signed(claims(exp=1)), id="expired"),
        pytest.param(signed(claims(), secret="another" * 8), id="another secret"),
        pytest.param(signed(claims())[:-2], id="signature cut"),
        pytest.param(signed(claims()).rpartition(".")[0] + ".", id="no signature"),
        pytest.param(f"{encoded(NONE)}.{encoded(claims())}.", id="alg none"),
        pytest.param(signed(claims(), header=NONE), id="alg none, signed"),
        pytest.param(signed(claims(), header=b'{"alg":"RS256","typ":"JWT"}'), id="alg RS256"),
        pytest.param(jwt.encode({"sub": "ana", "exp": FUTURE}, SECRET * 2, algorithm="HS512"), id="alg HS512"),
        pytest.param(signed(claims(), header=b'{"alg":["HS256"]}'), id="alg is a list"),
        pytest.param(signed(claims(), header=b"5"), id="header is a number"),
        pytest.param(signed(claims(), header=b'{"alg":"HS256","a":' + b"[" * 2_500 + b"]" * 2_500 + b"}"), id="deep"),
        pytest.param(signed(b'{"sub":"ana"}'), id="no exp"),
        pytest.param(signed(b'{"exp":%d}' % FUTURE), id="no sub"),
        pytest.param(signed(claims(sub="")), id="sub is empty"),
        pytest.param(signed(claims(sub="key:01980000-0000-7000-8000-00000000de30")), id="sub is a key's"),
        pytest.param(signed(claims(sub=5)), id="sub is a number"),
        pytest.param(signed(claims(sub=None)), id="sub is null"),
        pytest.param(signed(claims(sub="ana\0")), id="NUL in sub"),
        pytest.param(signed(claims(sub="\ud800")), id="half a character in sub"),
        pytest.param(signed(claims(sub="a" * 256)), id="sub is too long"),
        pytest.param(signed(claims(exp=[])), id="exp is a list"),
        pytest.param(signed(claims(exp=10**14)), id="exp is past the year 9999"),
        pytest.param(signed(b'{"sub":"ana","exp":Infinity}'), id="exp is infinite"),
        pytest.param(signed(b'{"sub":"ana","exp":NaN}'), id="exp is no number"),
        pytest.param(signed(claims(nbf=FUTURE)), id="not yet good"),
        pytest.param(signed(b"5"), id="claims are a number"),
        pytest.param(signed(b"\xff"), id="claims are no JSON"),
        pytest.param(signed(claims(pad="x" * 9_000)), id="huge"),
        pytest.param("x" * 1_000_000, id="a megabyte"),
        pytest.param("", id="empty"),
        pytest.param("a.b", id="two parts"),
        pytest.param("ñandú.ñandú.ñandú", id="not ASCII"),
        pytest.param("\ud800.\ud800.\ud800", id="half characters"),
    ],
)
async def test_bad_token_is_unauthenticated(token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await principal_of(token)

    assert SECRET not in refused.value.message


@pytest.mark.parametrize("scheme", ["", "Basic ", "Token ", "Bearer"])
async def test_other_schemes_are_unauthenticated(scheme: str) -> None:
    with pytest.raises(Unauthenticated):
        await TOKENS.principal({"authorization": f"{scheme}{TOKENS.make('ana', lifetime=HOUR)}"})


@pytest.mark.parametrize(("issuer", "audience"), [("login", None), (None, "robot-jobs"), ("login", "robot-jobs")])
async def test_issuer_and_audience_must_match_where_they_are_set(issuer: str | None, audience: str | None) -> None:
    tokens = Tokens(SECRET, issuer, audience)

    assert (await principal_of(tokens.make("ana", lifetime=HOUR), tokens)).user_id == "ana"
    for other in (Tokens(SECRET), Tokens(SECRET, issuer and "x", audience), Tokens(SECRET, issuer, audience and "x")):
        if other != tokens:
            with pytest.raises(Unauthenticated):
                await principal_of(other.make("ana", lifetime=HOUR), tokens)


# ---------------------------------------------------------------------------------------------- the kept secret


def test_made_secret_is_kept_and_readable_by_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOT_JOBS_JWT_SECRET", raising=False)
    settings = load_settings(home=tmp_path / "home")

    first = load_tokens(settings, may_make_secret=True)

    kept = tmp_path / "home" / "jwt-secret"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert first.secret is not None
    assert kept.read_text() == first.secret
    assert len(first.secret) >= 32
    assert load_tokens(settings, may_make_secret=True) == first
    assert [path.name for path in kept.parent.iterdir()] == ["jwt-secret"]


def test_all_who_start_at_once_keep_one_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOT_JOBS_JWT_SECRET", raising=False)
    at_once = threading.Barrier(8)

    def start(home: Path) -> str | None:
        settings = load_settings(home=home)
        at_once.wait(10)
        return load_tokens(settings, may_make_secret=True).secret

    with ThreadPoolExecutor(8) as pool:
        for round_number in range(20):
            assert len(set(pool.map(start, [tmp_path / str(round_number)] * 8))) == 1


@pytest.mark.parametrize("text", ["", "short", "\n" * 50])
def test_secret_file_that_holds_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """As a disk that was full may have left it: an empty secret would let everybody in."""
    monkeypatch.delenv("ROBOT_JOBS_JWT_SECRET", raising=False)
    (tmp_path / "jwt-secret").write_text(text)

    with pytest.raises(SettingsError, match=r"ROBOT_JOBS_HOME: .*jwt-secret holds no secret; remove the file"):
        load_tokens(load_settings(home=tmp_path), may_make_secret=True)


def test_home_that_cannot_be_made_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOT_JOBS_JWT_SECRET", raising=False)
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match="ROBOT_JOBS_HOME: cannot keep a secret in") as refused:
        load_tokens(load_settings(home=tmp_path / "file" / "home"), may_make_secret=True)
    assert "\n" not in str(refused.value)
