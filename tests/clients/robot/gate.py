"""Between a robot and the API: a way on which answers get lost, or nobody is there, when a test says so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send


class _CutOff(Response):
    """Begins an answer, and ends in the middle of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 -- as it is called
        headers = [(b"content-length", b"1000"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"data": {', "more_body": True})
        scope["app"].state.hang_up(scope)


@dataclass
class Gate:
    """`lost`: answers to requests that hold such a text are cut off, that often.  `refused`: instead of an answer."""

    target: str
    url: str = ""
    lost: dict[str, int] = field(default_factory=dict)
    refused: list[tuple[str, Response]] = field(default_factory=list)
    is_closed: bool = False
    """Then everything is answered with a 503."""
    bodies: list[tuple[str, str]] = field(default_factory=list)
    """All that was sent, with its path."""
    passed: list[str] = field(default_factory=list)
    """The names of the operations that the API has answered."""
    watchers: list[Callable[[str], Awaitable[None]]] = field(default_factory=list)
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(trust_env=False, timeout=60))

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        text = body.decode("utf-8", "replace")
        name = text.partition("mutation ")[2].partition("(")[0] or request.url.path
        self.bodies.append((request.url.path, text))
        if self.is_closed:
            return Response("closed", 503)
        for number, (what, response) in enumerate(self.refused):
            if what in f"{request.url.path} {text}":
                del self.refused[number]
                return response
        headers = {key: value for key, value in request.headers.items() if key not in ("host", "content-length")}
        answer = await self.http.request(
            request.method, f"{self.target}{request.url.path}", content=body, headers=headers
        )
        self.passed.append(name)
        for watcher in list(self.watchers):
            await watcher(name)
        for what, times in self.lost.items():
            if what in text and times > 0:
                self.lost[what] = times - 1
                return _CutOff()
        return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        self.is_up.set()


@asynccontextmanager
async def open_gate(target: str) -> AsyncIterator[Gate]:
    gate = Gate(target)
    app = Starlette(routes=[Route("/{path:path}", gate.answer, methods=["GET", "POST", "PUT"])])
    server = _Server(uvicorn.Config(app, port=0, ws="none", lifespan="off", log_config=None, access_log=False))

    def hang_up(_: Scope) -> None:
        raise ConnectionResetError  # uvicorn then closes the connection, whose answer lacks its end

    app.state.hang_up = hang_up
    serving = asyncio.create_task(server.serve())
    await asyncio.wait_for(server.is_up.wait(), 10)
    gate.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield gate
    finally:
        server.should_exit = True
        await serving
        await gate.http.aclose()
