"""The API over one kept HTTP connection: what passes by itself is asked again, every try has a time limit."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import httpx
from gql import GraphQLRequest
from graphql import print_ast

from clients.robot.backoff import pause_s, rest
from clients.robot.leases import lease_clock
from clients.robot.logs import Log

CALL_TIMEOUT_S = 20.0
_CONNECT_TIMEOUT_S = 5.0
_LONGEST_RETRY_AFTER_S = 60.0
_PASSING_CODES = frozenset({"SERVICE_UNAVAILABLE", "RATE_LIMITED"})
_KEY_CODES = frozenset({"UNAUTHENTICATED"})


class ApiUnreachable(Exception):
    """The API gave no answer in time; whether it did what was asked is not known."""


class ApiRefused(Exception):
    """The API refuses the request as a whole, and would again: `code` is for programs, the text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class KeyRefused(Exception):
    """The API does not take the robot's key.  There is no use in going on."""


class _Passing(Exception):
    """Asked again it may be answered."""

    def __init__(self, kind: str, message: str, retry_after_s: float = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Answer:
    data: dict[str, Any]
    asked_at: float
    """By the lease clock, when the request that was answered was sent."""


class Transport:
    """Use it as `async with`.  `stopping`: from then on nobody waits for an API that does not answer."""

    def __init__(
        self, url: str, key: str, *, log: Log, stopping: asyncio.Event, count_error: Callable[[str], None]
    ) -> None:
        self._url, self._log, self._stopping, self._count_error = url, log, stopping, count_error
        # A proxy for the outer world has no business between two programs on one machine.
        is_local = urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}", "Accept": "application/graphql-response+json, application/json"},
            timeout=httpx.Timeout(CALL_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S),
            trust_env=not is_local,
        )
        self._down_since: float | None = None

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(
        self,
        request: GraphQLRequest,
        variables: Mapping[str, Any],
        *,
        workspace_id: str | None,
        within_s: float | None = None,
    ) -> Answer:
        """The answer's data; without `within_s` it is waited for until the robot is told to stop.

        Raises ApiUnreachable, ApiRefused, KeyRefused.
        """
        body = {"query": print_ast(request.document), "variables": dict(variables)}

        async def post() -> dict[str, Any]:
            return _data(await self._http.post(self._url, json=body, headers=_in_workspace(workspace_id)), self._url)

        return await self._until_answered(post, within_s)

    async def put(self, path: str, content: bytes, *, content_type: str, workspace_id: str | None) -> None:
        """Store bytes, waiting until the robot is told to stop.  Raises ApiUnreachable, ApiRefused, KeyRefused."""
        headers = {"Content-Type": content_type, **_in_workspace(workspace_id)}

        async def put() -> dict[str, Any]:
            answer = await self._http.put(urljoin(self._url, path), content=content, headers=headers)
            _raise_unless_answered(answer)
            if answer.status_code >= 300:
                raise ApiRefused(f"HTTP_{answer.status_code}", _message(answer))
            return {}

        await self._until_answered(put, None)

    async def _until_answered(self, send: Callable[[], Awaitable[dict[str, Any]]], within_s: float | None) -> Answer:
        deadline = time.monotonic() + within_s if within_s is not None else None
        tries = 0
        while True:
            tries += 1
            asked_at = lease_clock()
            limit_s = CALL_TIMEOUT_S if deadline is None else min(CALL_TIMEOUT_S, deadline - time.monotonic())
            try:
                async with asyncio.timeout(max(limit_s, 0.05)):
                    data = await send()
            except (_Passing, TimeoutError, httpx.TransportError, httpx.DecodingError) as error:
                failure = _as_passing(error)
            else:
                self._has_answered()
                return Answer(data, asked_at)
            self._count_error(failure.kind)
            self._is_down(failure)
            wait_s = max(pause_s(tries), failure.retry_after_s)
            if deadline is None:
                if await rest(wait_s, self._stopping):
                    raise ApiUnreachable(str(failure)) from None
            elif time.monotonic() + wait_s < deadline:
                await asyncio.sleep(wait_s)
            else:
                raise ApiUnreachable(str(failure)) from None

    def _is_down(self, failure: _Passing) -> None:
        if self._down_since is None:
            self._down_since = time.monotonic()
            self._log.warning("api_does_not_answer", kind=failure.kind, message=str(failure))

    def _has_answered(self) -> None:
        if self._down_since is not None:
            self._log.info("api_answers_again", after_s=round(time.monotonic() - self._down_since, 1))
            self._down_since = None


def _in_workspace(workspace_id: str | None) -> dict[str, str]:
    return {"X-Workspace-Id": workspace_id} if workspace_id is not None else {}


def _as_passing(error: Exception) -> _Passing:
    match error:
        case _Passing():
            return error
        case TimeoutError() | httpx.TimeoutException():
            return _Passing("timeout", "no answer in time")
        case _:
            return _Passing("connection", f"{type(error).__name__}: {error}")


def _raise_unless_answered(answer: httpx.Response) -> None:
    """Raises KeyRefused, and _Passing."""
    status = answer.status_code
    if status in (401, 403):
        raise KeyRefused(f"the API does not take the key: {_message(answer)}")
    if status == 429:
        raise _Passing("rate_limited", _message(answer), _retry_after_s(answer))
    if status >= 500 or status == 408:
        raise _Passing(f"http_{status}", _message(answer), _retry_after_s(answer))


def _data(answer: httpx.Response, url: str) -> dict[str, Any]:
    _raise_unless_answered(answer)
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or not ("data" in body or "errors" in body):
        raise ApiRefused(f"HTTP_{answer.status_code}", f"what answers at {url} is not the API; check the URL")
    if errors := body.get("errors"):
        code = str(errors[0].get("extensions", {}).get("code", "INTERNAL_ERROR"))
        message = str(errors[0].get("message", code))
        if code in _PASSING_CODES:
            raise _Passing(code.lower(), message)
        if code in _KEY_CODES:
            raise KeyRefused(f"the API does not take the key: {message}")
        raise ApiRefused(code, message)
    data: dict[str, Any] = body["data"]
    return data


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["errors"][0]["message"])
    except (ValueError, LookupError, TypeError):
        return f"HTTP status {answer.status_code}"


def _retry_after_s(answer: httpx.Response) -> float:
    text = answer.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_RETRY_AFTER_S) if text.isascii() and text.isdigit() else 0
