"""The client against a server that misbehaves on purpose: cuts, refusals, answers that end too early."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, Response

from clients.console.api_client import ApiClient, ApiRefused
from clients.console.outages import ServerUnreachable

JOB = {
    "id": "job",
    "status": "COMPLETED",
    "totalItems": 3,
    "successCount": 3,
    "errorCount": 0,
    "cancelledCount": 0,
    "failures": [],
}
Stream = Callable[[WebSocket, str], Awaitable[None]]


@dataclass
class FakeServer:
    """Answers each call and each subscription with the next thing prepared for it."""

    url: str = ""
    answers: list[Response] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    asked_after: list[str] = field(default_factory=list)

    def will_answer(self, data: dict[str, Any] | None = None, *, status: int = 200, **more: Any) -> None:
        self.answers.append(JSONResponse(({"data": data} if data is not None else {}) | more, status_code=status))

    async def post(self, _: Request) -> Response:
        return self.answers.pop(0)

    async def follow(self, socket: WebSocket) -> None:
        await socket.accept(subprotocol="graphql-transport-ws")
        await socket.receive_json()
        await socket.send_json({"type": "connection_ack"})
        after = (await socket.receive_json())["payload"]["variables"]["after"]
        self.asked_after.append(after)
        await self.streams.pop(0)(socket, after)


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.is_up.set()


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    fake, app = FakeServer(), FastAPI()
    app.add_api_route("/graphql", fake.post, methods=["POST"], response_model=None)
    app.add_api_websocket_route("/graphql", fake.follow)
    running = _Server(uvicorn.Config(app, port=0, ws="websockets-sansio", lifespan="off", log_config=None))
    task = asyncio.create_task(running.serve())
    await asyncio.wait_for(running.is_up.wait(), 10)
    fake.url = f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}/graphql"
    yield fake
    running.should_exit = True
    await task


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[ApiClient]:
    async with ApiClient(server.url, "token", patience_s=2) as client:
        yield client


async def _tell(socket: WebSocket, *seqs: int) -> None:
    for seq in seqs:
        item = {"id": f"item-{seq}", "status": "SUCCESS", "attempt": 1}
        item |= {"trackingNumber": str(seq), "errorType": None, "errorMessage": None}
        told = {"cursor": f"c{seq}", "item": item, "job": JOB | {"successCount": seq}}
        await socket.send_json({"id": "1", "type": "next", "payload": {"data": {"robotJobItemCompleted": told}}})


async def _complete(socket: WebSocket) -> None:
    await socket.send_json({"id": "1", "type": "complete"})
    await socket.receive()


async def _cursors(client: ApiClient) -> list[str]:
    return [completion.cursor async for completion in client.follow_completions("job")]


async def test_a_cut_stream_goes_on_from_the_last_cursor_seen(server: FakeServer, client: ApiClient) -> None:
    async def cut(socket: WebSocket, _: str) -> None:
        await _tell(socket, 1, 2)
        await socket.close(1012)

    async def rest(socket: WebSocket, _: str) -> None:
        await _tell(socket, 3)
        await _complete(socket)

    server.streams = [cut, rest]
    server.will_answer({"robotJob": JOB})

    assert await _cursors(client) == ["c1", "c2", "c3"]
    assert server.asked_after == ["0", "c2"]


async def test_a_stream_that_ends_while_the_job_is_active_is_followed_again(
    server: FakeServer, client: ApiClient
) -> None:
    async def one(socket: WebSocket, after: str) -> None:
        await _tell(socket, 1 if after == "0" else 2)
        await _complete(socket)

    server.streams = [one, one]
    server.will_answer({"robotJob": JOB | {"status": "PROCESSING"}})
    server.will_answer({"robotJob": JOB})

    assert await _cursors(client) == ["c1", "c2"]
    assert server.asked_after == ["0", "c1"]


async def test_a_stream_closed_for_a_reason_is_not_followed_again(server: FakeServer, client: ApiClient) -> None:
    async def refuse(socket: WebSocket, _: str) -> None:
        await socket.close(4403, "The token has expired.")

    server.streams = [refuse]

    with pytest.raises(ApiRefused, match="The token has expired"):
        await _cursors(client)


async def test_an_error_within_a_stream_is_one_line(server: FakeServer, client: ApiClient) -> None:
    async def fail(socket: WebSocket, _: str) -> None:
        error = {"message": "Not a member.", "extensions": {"code": "NOT_A_MEMBER"}}
        await socket.send_json({"id": "1", "type": "error", "payload": [error]})
        await socket.receive()

    server.streams = [fail]

    with pytest.raises(ApiRefused, match=r"^Not a member\.$") as refused:
        await _cursors(client)
    assert refused.value.code == "NOT_A_MEMBER"


async def test_a_call_is_made_again_while_the_server_is_unavailable(server: FakeServer, client: ApiClient) -> None:
    server.will_answer(status=503)
    server.will_answer(errors=[{"message": "Later.", "extensions": {"code": "SERVICE_UNAVAILABLE"}}])
    server.will_answer({"activeRobotJob": None})

    assert await client.find_active_job() is None
    assert server.answers == []


async def test_a_server_that_was_never_there_is_not_waited_for() -> None:
    async with ApiClient("http://127.0.0.1:9/graphql", "token") as client:
        with pytest.raises(ServerUnreachable, match="No server answers"):
            await client.find_active_job()


async def test_invalid_input_names_every_problem(server: FakeServer, client: ApiClient) -> None:
    problems = [{"path": "csv", "message": "lacks units."}, {"path": "csv", "message": "is empty."}]
    answer = {"__typename": "InvalidInput", "code": "INVALID_INPUT", "message": "Invalid.", "problems": problems}
    server.will_answer({"importOrders": answer})

    with pytest.raises(ApiRefused, match=r"csv lacks units\.; csv is empty\."):
        await client.import_orders("")
