"""Clients that come again after each cut, at any replica, and go on from where they were."""

import asyncio
import json
import random
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from tests.servers import FOLLOW, Server, following, open_events, open_socket

COME_AGAIN = {1001, 1006, 1012, 1013}  # the codes that say so; 1006: there was none, the socket broke
COMES_AGAIN_AFTER_S = 0.02
HTTP_BROKE = (httpx.NetworkError, httpx.RemoteProtocolError)
MULTIPART = "multipart/mixed;subscriptionSpec=1.0"


class Cut(Exception):
    """The stream ended and was not over; how, in a word."""


class Transport(Protocol):
    def __call__(
        self, server: Server, headers: Mapping[str, str], document: str, variables: Mapping[str, object]
    ) -> AsyncGenerator[Any, None]:
        """The data of each message, until all has been told.  Raises Cut."""


async def by_socket(
    server: Server, headers: Mapping[str, str], document: str, variables: Mapping[str, object]
) -> AsyncGenerator[Any, None]:
    try:
        async with open_socket(server, headers) as socket:
            await socket.subscribe(document, variables)
            while (message := await socket.receive())["type"] == "next":
                yield data_of(message["payload"])
            assert message["type"] == "complete", message
    except ConnectionClosed as closed:
        code = closed.rcvd.code if closed.rcvd is not None else 1006
        if code not in COME_AGAIN:
            raise
        raise Cut(str(code)) from closed
    except InvalidStatus as refused:
        if refused.response.status_code != 503:
            raise
        raise Cut("503") from refused
    except (InvalidHandshake, ConnectionError) as broken:
        raise Cut("broken") from broken


async def by_events(
    server: Server, headers: Mapping[str, str], document: str, variables: Mapping[str, object]
) -> AsyncGenerator[Any, None]:
    try:
        async with open_events(server, headers, document, variables) as events:
            await refuse_all_but_streams(events.answer)
            while (told := await events.told()) != ("complete", ""):
                if told is None:
                    raise Cut("end of stream")
                yield data_of(told[1])
    except HTTP_BROKE as broken:
        raise Cut("broken") from broken


async def by_parts(
    server: Server, headers: Mapping[str, str], document: str, variables: Mapping[str, object]
) -> AsyncGenerator[Any, None]:
    try:
        async with open_events(server, headers, document, variables, accept=MULTIPART) as parts:
            await refuse_all_but_streams(parts.answer)
            async for line in parts.answer.aiter_lines():
                if line == "--graphql--":
                    return
                if line.startswith("{") and line != "{}":
                    part = json.loads(line)
                    yield data_of(part if part["payload"] is None else part["payload"])
            raise Cut("end of stream")
    except HTTP_BROKE as broken:
        raise Cut("broken") from broken


async def refuse_all_but_streams(answer: httpx.Response) -> None:
    if answer.status_code != 200:
        await answer.aread()
        assert answer.status_code == 503, (answer.status_code, answer.text)
        raise Cut("503")


def data_of(payload: Any) -> Any:
    """Raises Cut for the one error that says: try again."""
    if "errors" in payload:
        assert_says_try_again(payload)
        raise Cut("SERVICE_UNAVAILABLE")
    return payload["data"]


def assert_says_try_again(payload: Any) -> None:
    assert [error["extensions"]["code"] for error in payload["errors"]] == ["SERVICE_UNAVAILABLE"], payload


class Client(ABC):
    """Follows until all has been told; after a cut at any of the servers, which may be the same."""

    def __init__(
        self, transport: Transport, servers: Sequence[Server], headers: Mapping[str, str], choice: random.Random
    ) -> None:
        self.cuts: Counter[str] = Counter()
        self._transport = transport
        self._servers = servers
        self._headers = headers
        self._choice = choice

    async def follow(self, first: Server | None = None) -> None:
        """`first`: where to begin."""
        server = first or self._choice.choice(self._servers)
        while not await self._is_told_all(server):
            await asyncio.sleep(COMES_AGAIN_AFTER_S)
            server = self._choice.choice(self._servers)

    async def _is_told_all(self, server: Server) -> bool:
        document, variables = self.ask()
        try:
            async with aclosing(self._transport(server, self._headers, document, variables)) as messages:
                async for data in messages:
                    (told,) = data.values()
                    if await self.take(told):
                        return True
        except Cut as cut:
            self.cuts[str(cut)] += 1
            return False
        return True

    @abstractmethod
    def ask(self) -> tuple[str, Mapping[str, object]]:
        """Document and variables of the next subscription."""

    @abstractmethod
    async def take(self, told: Any) -> bool:
        """Whether that is all that the client wants to know."""

    @abstractmethod
    def has_reached(self, count: int) -> bool:
        """Whether the client knows that so many items are closed."""


def closed_in(job: Any) -> int:
    return int(job["successCount"] + job["errorCount"])


class CompletionClient(Client):
    """Each completion once: from "0", or after=None from now on.

    `acknowledged`: how many items are closed for certain.  `ready`: waited for before each message is read.
    """

    def __init__(
        self,
        *arguments: Any,
        job_id: uuid.UUID,
        after: str | None,
        acknowledged: Callable[[], int],
        ready: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(*arguments)
        self.told: list[Any] = []
        self.begins_at_once = after is not None
        self.closed_before = 0  # of one who begins now
        self._job_id = job_id
        self._after = after
        self._acknowledged = acknowledged
        self._ready = ready

    def ask(self) -> tuple[str, Mapping[str, object]]:
        if self._after is None:
            self.closed_before = self._acknowledged()
        return FOLLOW, following(self._job_id, self._after)

    async def take(self, told: Any) -> bool:
        self.told.append(told)
        self._after = told["cursor"]
        if self._ready is not None:
            await self._ready()
        return False

    def has_reached(self, count: int) -> bool:
        """Who began now and has been told nothing cannot know."""
        return self._after is None or (bool(self.told) and closed_in(self.told[-1]["job"]) >= count)


class StateClient(Client):
    """The newest state of a job: what comes first is no older than what is closed for certain, and none goes back."""

    document: str

    def __init__(self, *arguments: Any, job_id: uuid.UUID, acknowledged: Callable[[], int]) -> None:
        super().__init__(*arguments)
        self.state: Any = None
        self._job_id = str(job_id)
        self._acknowledged = acknowledged
        self._at_least = 0

    def ask(self) -> tuple[str, Mapping[str, object]]:
        self._at_least = self._acknowledged()
        return self.document, {"jobId": self._job_id}

    async def take(self, told: Any) -> bool:
        state = self.state_in(told)
        assert closed_in(state) >= self._at_least, "the newest at once, and none that is older than what was told"
        self.state, self._at_least = state, closed_in(state)
        return False

    def has_reached(self, count: int) -> bool:
        return self.state is not None and closed_in(self.state) >= count

    @abstractmethod
    def state_in(self, told: Any) -> Any:
        """The job."""


class ProgressClient(StateClient):
    """Is told when there will be no more."""

    document = """subscription ($jobId: ID!) { robotJobProgress(jobId: $jobId) {
      status totalItems successCount errorCount progress { done }
    } }"""

    def state_in(self, told: Any) -> Any:
        assert told["progress"]["done"] == closed_in(told), "of one moment"
        return told


class BoardClient(StateClient):
    """Of a workspace with that one job.  It would go on for ever: when the job has finished, the client leaves."""

    document = "subscription { robotJobsChanged { jobs { id status totalItems successCount errorCount } } }"

    def ask(self) -> tuple[str, Mapping[str, object]]:
        document, _ = super().ask()
        return document, {}

    async def take(self, told: Any) -> bool:
        await super().take(told)
        return closed_in(self.state) == int(self.state["totalItems"])

    def state_in(self, told: Any) -> Any:
        (job,) = told["jobs"]
        assert job["id"] == self._job_id
        return job
