"""GraphiQL as a user meets it: what is served, and what a real Chromium makes of it."""

import asyncio
import hashlib
import json
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
import pytest_asyncio
import strawberry
import uvicorn
from playwright.async_api import (
    Browser,
    BrowserContext,
    Page,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from strawberry.asgi import GraphQL
from strawberry.types import Info

from api.graphiql import (
    CONTENT_SECURITY_POLICY,
    STATIC_DIRECTORY,
    asks_for_graphiql,
    graphiql_assets,
    graphiql_page,
)

SOURCE_DIRECTORY = STATIC_DIRECTORY.parent / "source"
BROWSER_TIMEOUT_MS = 10_000
SERVER_STOP_TIMEOUT_S = 5

EXPIRED = "Bearer expired"


# ---------------------------------------------------------------------------- an API for the page to talk to


@strawberry.type
class Seen:
    authorization: str | None
    workspace_id: str | None


@strawberry.type
class Tick:
    number: int
    authorization: str | None
    workspace_id: str | None


@strawberry.type
class Query:
    @strawberry.field
    def seen(self, info: Info[Any, None]) -> Seen:
        headers = info.context["request"].headers
        return Seen(authorization=headers.get("authorization"), workspace_id=headers.get("x-workspace-id"))


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def ticks(self, info: Info[Any, None]) -> AsyncGenerator[Tick, None]:
        payload = info.context["connection_params"]
        for number in (1, 2, 3):
            await info.context["request"].app.state.ticks_allowed.acquire()
            yield Tick(
                number=number,
                authorization=payload.get("Authorization"),
                workspace_id=payload.get("X-Workspace-Id"),
            )


@dataclass(slots=True)
class Api:
    url: str
    ticks_allowed: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    def page_url(self, **fragment: str) -> str:
        fields = "&".join(f"{name}={quote(value)}" for name, value in fragment.items())
        return f"{self.url}/graphql#{fields}" if fields else f"{self.url}/graphql"


class SignalFreeServer(uvicorn.Server):
    """Leaves the test process's signal handlers alone."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class GraphqlEndpoint:
    """What the address /graphql answers: the page, a refusal, or GraphQL over HTTP and WebSocket."""

    def __init__(self) -> None:
        self.graphql = GraphQL[Any, Any](strawberry.Schema(query=Query, subscription=Subscription))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler: ASGIApp = self.graphql
        if scope["type"] == "http":
            request = Request(scope)
            if asks_for_graphiql(request):
                handler = graphiql_page()
            elif request.headers.get("authorization") == EXPIRED:
                handler = JSONResponse({"errors": [{"message": "The token is expired."}]}, status_code=401)
        await handler(scope, receive, send)


def make_app() -> Starlette:
    endpoint = GraphqlEndpoint()
    return Starlette(
        routes=[
            Route("/graphql", endpoint),
            WebSocketRoute("/graphql", endpoint),
            Mount("/graphiql", graphiql_assets),
        ]
    )


@asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    """Serves `app` at the URL it yields, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        server = SignalFreeServer(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await asyncio.wait_for(serving, SERVER_STOP_TIMEOUT_S)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served_app() -> AsyncIterator[tuple[str, Starlette]]:
    app = make_app()
    async with served(app) as url:
        yield url, app


@pytest.fixture
def api(served_app: tuple[str, Starlette]) -> Api:
    url, app = served_app
    api = Api(url)
    app.state.ticks_allowed = api.ticks_allowed
    return api


# ---------------------------------------------------------------------------- a browser


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    fresh = await browser.new_context(viewport={"width": 1280, "height": 800})
    fresh.set_default_timeout(BROWSER_TIMEOUT_MS)
    yield fresh
    await fresh.close()


@dataclass(slots=True)
class Watched:
    """A browser page with what it asked for and complained about."""

    page: Page
    request_urls: list[str] = field(default_factory=list)
    socket_urls: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def urls(self) -> list[str]:
        return [*self.request_urls, *self.socket_urls]

    async def wait_for(self, selector: str, text: str | re.Pattern[str] = "") -> None:
        """Waits frame by frame; Playwright's `expect` looks again after pauses of up to a second."""
        await self.page.locator(selector).filter(has_text=text).wait_for()

    async def run(self) -> None:
        await self.wait_for(".graphiql-response .CodeMirror")
        await self.page.get_by_role("button", name="Execute query").click()

    async def wait_for_answer(self, *texts: str) -> None:
        for text in texts:
            await self.wait_for(".graphiql-response", text)

    async def type_headers(self, headers: dict[str, str]) -> None:
        editor = self.page.locator(".graphiql-editor-tool .graphiql-editor:not(.hidden)")
        await editor.click()
        await self.page.keyboard.press("Control+A")
        await self.page.keyboard.insert_text(json.dumps(headers))


@pytest_asyncio.fixture(loop_scope="session")
async def watched(context: BrowserContext) -> Watched:
    page = await context.new_page()
    watched = Watched(page)
    page.on("request", lambda request: watched.request_urls.append(request.url))
    page.on("websocket", lambda opened: watched.socket_urls.append(opened.url))
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    page.on("console", lambda said: watched.complaints.append(said.text) if said.type == "error" else None)
    return watched


in_browser = pytest.mark.asyncio(loop_scope="session")


@in_browser
async def test_the_page_loads_the_schema_and_asks_no_other_host(api: Api, watched: Watched) -> None:
    await watched.page.goto(api.page_url())

    await watched.page.get_by_role("button", name="Show Documentation Explorer").click()
    await watched.wait_for(".graphiql-doc-explorer-content", "Subscription")
    await watched.wait_for(".graphiql-query-editor", "LatestRobotJobs")
    await watched.page.get_by_role("button", name="Open settings dialog").click()
    await watched.wait_for("[role=dialog]", "Settings")
    assert await watched.page.title() == "Robot jobs · GraphiQL"
    assert {urlsplit(url).netloc for url in watched.urls()} == {urlsplit(api.url).netloc}
    assert watched.complaints == []


@in_browser
async def test_the_fragment_fills_in_the_headers_and_leaves_the_address(api: Api, watched: Watched) -> None:
    query = "query Mine { seen { authorization workspaceId } }"
    await watched.page.goto(api.page_url(token="secret-1", workspace="w-1", query=query))

    await watched.run()

    await watched.wait_for_answer("Bearer secret-1", "w-1")
    assert watched.page.url == f"{api.url}/graphql"
    assert [url for url in watched.urls() if "secret-1" in url] == []
    assert "secret-1" not in await watched.page.evaluate("JSON.stringify(localStorage)")
    assert watched.complaints == []

    # The headers outlive a reload of the tab, and a query taken from the history leaves them alone.
    await watched.page.reload()
    await watched.page.get_by_role("button", name="Show History").click()
    await watched.page.locator(".graphiql-history-item-label").click()
    await watched.run()

    await watched.wait_for_answer("Bearer secret-1", "w-1")


@in_browser
async def test_a_subscription_streams_three_results_with_the_headers_of_its_start(api: Api, watched: Watched) -> None:
    query = "subscription { ticks { number authorization workspaceId } }"
    await watched.page.goto(api.page_url(token="old", workspace="w-2", query=query))

    await watched.run()

    for number in (1, 2, 3):
        api.ticks_allowed.release()
        await watched.wait_for_answer(f'"number": {number}', "Bearer old", "w-2")
    await watched.page.get_by_role("button", name="Execute query").wait_for()  # the stream is complete
    assert watched.socket_urls == [f"{api.url.replace('http', 'ws')}/graphql"]

    # Other headers open another socket.
    await watched.type_headers({"Authorization": "Bearer new"})
    await watched.run()
    api.ticks_allowed.release()

    await watched.wait_for_answer('"number": 1', "Bearer new")
    assert len(watched.socket_urls) == 2
    assert watched.complaints == []


@in_browser
async def test_a_refused_schema_is_explained_and_comes_with_the_right_token(api: Api, watched: Watched) -> None:
    await watched.page.goto(api.page_url(token="expired"))
    await watched.wait_for("[role=alert]", "did not accept the credentials (401). The token is expired.")

    await watched.type_headers({"Authorization": "Bearer fresh"})

    await watched.page.locator("[role=alert]").wait_for(state="detached")
    await watched.page.get_by_role("button", name="Show Documentation Explorer").click()
    await watched.wait_for(".graphiql-doc-explorer-content", "Query")


@in_browser
async def test_a_program_that_does_not_load_is_said_on_the_page(api: Api, watched: Watched) -> None:
    await watched.page.route(re.compile(r"/page-\w+\.js$"), lambda route: route.abort())

    await watched.page.goto(api.page_url())

    await watched.wait_for("[role=alert]", re.compile(r"The file .*\.js did not load"))


@in_browser
async def test_a_browser_without_javascript_is_told_what_is_missing(api: Api, browser: Browser) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()

    await page.goto(api.page_url())

    # Chromium's switch for tests leaves <noscript> closed; the text beside it is there in any case.
    await page.get_by_text("the page's program did not arrive").wait_for()
    assert "<noscript>" in await page.content()
    await context.close()


# ---------------------------------------------------------------------------- what is served


@pytest_asyncio.fixture(loop_scope="session")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=make_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        yield client


over_http = pytest.mark.asyncio(loop_scope="session")


@over_http
async def test_the_page_is_html_under_a_strict_policy(http: httpx.AsyncClient) -> None:
    response = await http.get("/graphql", headers={"Accept": "text/html"})

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "default-src 'self'" in CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY


@over_http
async def test_the_page_names_only_files_of_ours(http: httpx.AsyncClient) -> None:
    html = bytes(graphiql_page().body).decode()
    names = re.findall(r'(?:src|href)="([^"]*)"', html)

    responses = [await http.get(f"/{name}") for name in names]

    assert len(names) == 4
    assert all(name.startswith("graphiql/") for name in names)
    assert [response.status_code for response in responses] == [200] * 4
    assert {response.headers["cache-control"] for response in responses} == {"public, max-age=31536000, immutable"}
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)


def test_style_sheets_refer_to_files_beside_them() -> None:
    for sheet in STATIC_DIRECTORY.glob("*.css"):
        references = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", sheet.read_text())

        assert references
        assert [name for name, imported in references if not (STATIC_DIRECTORY / name).is_file() or imported] == []


@pytest.mark.parametrize(
    ("suffix", "content_type"),
    [
        (".css", "text/css; charset=utf-8"),
        (".js", "text/javascript; charset=utf-8"),
        (".png", "image/png"),
        (".svg", "image/svg+xml"),
        (".txt", "text/plain; charset=utf-8"),
        (".woff", "font/woff"),
        (".woff2", "font/woff2"),
    ],
)
@over_http
async def test_assets_have_their_content_types(http: httpx.AsyncClient, suffix: str, content_type: str) -> None:
    name = next(path.name for path in STATIC_DIRECTORY.iterdir() if path.suffix == suffix)

    response = await http.get(f"/graphiql/{name}")

    assert response.status_code == 200
    assert response.headers["content-type"] == content_type
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["", "index.html", "SOURCE.sha256", "../__init__.py", "page-00000000.js"])
@over_http
async def test_nothing_else_is_served(http: httpx.AsyncClient, name: str) -> None:
    response = await http.get(f"/graphiql/{name}")

    assert response.status_code == 404


@pytest.mark.parametrize(
    ("method", "query", "accept", "is_asked"),
    [
        ("GET", "", "text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("HEAD", "", "text/html", True),
        ("GET", "", "application/json, Text/HTML;q=0.9", True),
        ("GET", "query={a}", "text/html", False),
        ("GET", "query=", "text/html", False),
        ("GET", "", "*/*", False),
        ("GET", "", "", False),
        ("GET", "", "application/json, text/html;q=0", False),
        ("GET", "", "text/event-stream", False),
        ("POST", "", "text/html", False),
    ],
)
def test_only_a_browser_that_opens_the_address_gets_the_page(
    method: str, query: str, accept: str, is_asked: bool
) -> None:
    request = Request(
        {
            "type": "http",
            "method": method,
            "query_string": query.encode(),
            "headers": [(b"accept", accept.encode())],
        }
    )

    assert asks_for_graphiql(request) is is_asked


# ---------------------------------------------------------------------------- what is committed


def test_the_built_files_come_from_the_committed_source() -> None:
    digest = hashlib.sha256()
    files = (path for path in SOURCE_DIRECTORY.rglob("*") if path.is_file())
    for name, path in sorted((path.relative_to(SOURCE_DIRECTORY).as_posix(), path) for path in files):
        if not name.startswith("node_modules/"):
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")

    recorded = (STATIC_DIRECTORY / "SOURCE.sha256").read_text().strip()

    assert recorded == digest.hexdigest(), "Build again: npm ci && npm run build in api/graphiql/source"


def test_versions_are_exact_and_bound_to_no_registry() -> None:
    package = json.loads((SOURCE_DIRECTORY / "package.json").read_text())
    lock = json.loads((SOURCE_DIRECTORY / "package-lock.json").read_text())

    versions = [*package["dependencies"].values(), *package["devDependencies"].values()]
    assert [version for version in versions if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []
    assert [name for name, entry in lock["packages"].items() if "resolved" in entry] == []
    assert [name for name, entry in lock["packages"].items() if name and "integrity" not in entry] == []


def test_the_bundle_stays_small_and_carries_its_licences() -> None:
    size = sum(path.stat().st_size for path in STATIC_DIRECTORY.iterdir())
    licences = Path(STATIC_DIRECTORY / "LICENSES.txt").read_text()

    assert size < 2_500_000
    for name in ("graphiql ", "react ", "graphql-ws ", "codemirror ", "Roboto ", "Fira Code "):
        assert re.search(rf"^{name}[0-9.]+ \(", licences, re.MULTILINE)
