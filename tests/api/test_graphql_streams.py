"""Subscriptions over HTTP: Server-Sent Events by graphql-sse's protocol, and multipart by Apollo's."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.types import Message

from api.app import create_app
from api.callers import Places
from api.database import DatabaseUrls
from api.graphql_streams import EVENT_STREAM, MULTIPART, Form, OpenStreams, Stream, StreamLimits
from api.settings import load_settings
from api.tokens import Tokens
from schema.deliveries import Outlet
from tests.servers import (
    FOLLOW,
    PATIENCE_S,
    REPORT,
    SECRET,
    Server,
    credentials,
    following,
    open_events,
    running_server,
    settings_for,
    until,
)
from tests.tenants import Tenant

SSE = "text/event-stream"
APOLLO = (
    "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/graphql-response+json,application/json;q=0.9"
)
MULTIPART_ALONE = "multipart/mixed;subscriptionSpec=1.0"
URQL = (
    "application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed"
)
URQL_SUBSCRIPTION = "text/event-stream, multipart/mixed"
ALIASES = " ".join(f"a{number}: id" for number in range(40))
HEARTBEAT_S = 0.3
AGE_S = 3.0
PROMPTLY_S = 5.0  # long before a heartbeat of the shared servers


def parts(content: bytes) -> list[Any]:
    """The bodies of a multipart answer, to its last delimiter and no further."""
    head, *sections, end = content.split(b"--graphql")
    assert (head, end) == (b"", b"--\r\n")
    read = []
    for section in sections:
        headers, _, body = section.partition(b"\r\n\r\n")
        assert headers == b"\r\nContent-Type: application/json"
        assert body.endswith(b"\r\n")
        read.append(json.loads(body))
    return read


# ---------------------------------------------------------------------------------------------- telling


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_events_tell_each_completion_and_complete_when_the_job_is_finished(
    server: Server, shop: Tenant, method: str
) -> None:
    in_hand = await shop.job(items=3)

    async with open_events(server, credentials(shop), FOLLOW, following(in_hand.job.id), method=method) as events:
        for item in in_hand.items:
            await server.report(item.id, headers=credentials(shop))
        told = await events.completions()

    assert [completion["item"]["id"] for completion in told] == [str(item.id) for item in in_hand.items]
    assert [completion["job"]["successCount"] for completion in told] == [1, 2, 3]
    assert told[-1]["job"]["status"] == "COMPLETED"
    headers = events.answer.headers
    assert (events.answer.status_code, headers["content-type"]) == (200, SSE)
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in headers
    assert "content-length" not in headers


async def test_follower_goes_on_from_its_cursor_at_another_process(
    server: Server, other_server: Server, shop: Tenant
) -> None:
    in_hand = await shop.job(items=4, succeeded=2)

    async with open_events(server, credentials(shop), FOLLOW, following(in_hand.job.id)) as events:
        told = [await events.completion() for _ in range(2)]
    for item in in_hand.items[2:]:
        await server.report(item.id, headers=credentials(shop))
    again = following(in_hand.job.id, after=told[-1]["cursor"])
    async with open_events(other_server, credentials(shop), FOLLOW, again) as events:
        told += await events.completions()

    assert [completion["item"]["id"] for completion in told] == [str(item.id) for item in in_hand.items]


async def test_parts_tell_each_completion_as_soon_as_it_is_known(server: Server, shop: Tenant) -> None:
    in_hand = await shop.job(items=2)
    request = {"query": FOLLOW, "variables": following(in_hand.job.id)}
    headers = credentials(shop) | {"Accept": APOLLO}
    content = b""

    async with server.http.stream("POST", "/graphql", json=request, headers=headers) as answer:
        chunks = answer.aiter_raw()
        for item in in_hand.items:
            await server.report(item.id, headers=credentials(shop))
            while str(item.id).encode() not in content or not content.endswith(b"\r\n--graphql"):
                content += await anext(chunks)
            if item is in_hand.items[-1]:
                break
        content += b"".join([chunk async for chunk in chunks])

    assert answer.headers["content-type"] == 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0'
    told = [part["payload"]["data"]["robotJobItemCompleted"] for part in parts(content)]
    assert [completion["item"]["id"] for completion in told] == [str(item.id) for item in in_hand.items]


async def test_equal_streams_and_queries_beside_them_disturb_nobody(server: Server, shop: Tenant) -> None:
    in_hand = await shop.job(items=5)

    async def follow(accept: str) -> list[Any]:
        request = following(in_hand.job.id)
        async with open_events(server, credentials(shop), FOLLOW, request, accept=accept) as events:
            if accept == SSE:
                return await events.completions()
            content = await events.answer.aread()
            return [part["payload"]["data"]["robotJobItemCompleted"] for part in parts(content)]

    async with asyncio.TaskGroup() as group:
        followers = [group.create_task(follow(accept)) for accept in (SSE, MULTIPART_ALONE) * 5]
        for item in in_hand.items:
            group.create_task(server.report(item.id, headers=credentials(shop)))

    first, *others = (follower.result() for follower in followers)
    assert len(first) == 5
    assert others == [first] * 9


# ---------------------------------------------------------------------------------------------- the form


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (SSE, SSE),
        (f"{SSE}, application/json", SSE),
        (f"application/json, {SSE};q=0.1", SSE),
        (f"{SSE.upper()} ; q=1.0, */*", SSE),
        (URQL_SUBSCRIPTION, SSE),
        (URQL, SSE),
        (APOLLO, MULTIPART.media_type),
        (MULTIPART_ALONE, MULTIPART.media_type),
        ('multipart/mixed;boundary=graphql;subscriptionSpec="1.0", application/json', MULTIPART.media_type),
        (f"{MULTIPART_ALONE}, {SSE}", MULTIPART.media_type),
        (f"{SSE}, {MULTIPART_ALONE}", SSE),
        (f"{MULTIPART_ALONE};q=0.5, {SSE};q=0.6", SSE),
        (f"{SSE};q=0, {MULTIPART_ALONE}", MULTIPART.media_type),
    ],
)
async def test_stream_has_the_form_that_is_liked_best(
    server: Server, shop: Tenant, accept: str, media_type: str
) -> None:
    in_hand = await shop.job(items=1, succeeded=1)
    request = following(in_hand.job.id)

    async with open_events(server, credentials(shop), FOLLOW, request, accept=accept) as events:
        assert (events.answer.status_code, events.answer.headers["content-type"]) == (200, media_type)


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "text/*, */*", f"{SSE};q=0, */*", "multipart/mixed, application/json"]
)
async def test_subscription_of_who_takes_no_stream_is_refused_and_told_what_to_send(
    server: Server, shop: Tenant, accept: str
) -> None:
    in_hand = await shop.job(items=1)

    async with open_events(server, credentials(shop), FOLLOW, following(in_hand.job.id), accept=accept) as events:
        answer = events.answer
        await answer.aread()

    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
    (error,) = answer.json()["errors"]
    assert error["extensions"] == {"code": "BAD_REQUEST"}
    assert all(way in error["message"] for way in ("graphql-transport-ws", SSE, MULTIPART_ALONE))


@pytest.mark.parametrize("accept", [URQL, f"{SSE}, application/json;q=0.1", f"{APOLLO}, {SSE}"])
async def test_queries_and_mutations_are_answered_in_json_whatever_else_is_accepted(
    server: Server, shop: Tenant, accept: str
) -> None:
    in_hand = await shop.job(items=1)
    headers = credentials(shop) | {"Accept": accept}
    result = {"itemId": str(in_hand.items[0].id), "status": "SUCCESS", "trackingNumber": "TRK-1"}

    asked = await server.http.post("/graphql", json={"query": "{ __typename }"}, headers=headers)
    wrong = await server.http.post("/graphql", json={"query": "subscription {"}, headers=headers)
    changed = await server.http.post(
        "/graphql", json={"query": REPORT, "variables": {"input": result}}, headers=headers
    )

    assert asked.json() == {"data": {"__typename": "Query"}}
    assert wrong.json()["errors"][0]["extensions"]["code"] == "GRAPHQL_PARSE_FAILED"
    assert changed.json()["data"]["updateJobItemResult"]["__typename"] == "UpdateJobItemResultSuccess"
    assert all("json" in answer.headers["content-type"] for answer in (asked, wrong, changed))


@pytest.mark.parametrize(
    ("document", "expected"),
    [("{ __typename }", {"data": {"__typename": "Query"}}), ("{", "GRAPHQL_PARSE_FAILED"), ("{ x }", "GRAPHQL_VAL")],
)
async def test_who_takes_streams_only_gets_any_other_answer_as_a_stream_of_one(
    server: Server, shop: Tenant, document: str, expected: object
) -> None:
    """As graphql-sse's client asks for everything."""
    async with open_events(server, credentials(shop), document) as events:
        told = [await events.told(), await events.told(), await events.told()]
    async with open_events(server, credentials(shop), document, accept=MULTIPART_ALONE) as multipart:
        (part,) = parts(await multipart.answer.aread())

    first, *rest = told
    assert first is not None
    assert rest == [("complete", ""), None]
    assert first == ("next", part["payload"])
    if isinstance(expected, str):
        assert part["payload"]["errors"][0]["extensions"]["code"].startswith(expected)
    else:
        assert part["payload"] == expected


async def test_mutations_are_never_done_over_get(server: Server, shop: Tenant) -> None:
    async with open_events(server, credentials(shop), "mutation { __typename }", method="GET") as events:
        answer = events.answer
        await answer.aread()

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_batches_have_no_streams(server: Server, shop: Tenant) -> None:
    in_hand = await shop.job(items=1)
    batch = [{"query": "{ __typename }"}, {"query": FOLLOW, "variables": following(in_hand.job.id)}]

    mixed = await server.http.post("/graphql", json=batch, headers=credentials(shop) | {"Accept": URQL})
    streamed = await server.http.post("/graphql", json=batch, headers=credentials(shop) | {"Accept": SSE})

    assert mixed.json()[0] == {"data": {"__typename": "Query"}}
    assert mixed.json()[1]["errors"][0]["extensions"] == {"code": "BAD_REQUEST"}
    assert (streamed.status_code, streamed.headers["content-type"]) == (406, "application/json")


# ---------------------------------------------------------------------------------------------- refusals and errors


async def test_what_comes_before_the_operation_is_refused_with_a_status(server: Server, shop: Tenant) -> None:
    body = json.dumps({"query": FOLLOW})
    accept, as_json = {"Accept": SSE}, {"Content-Type": "application/json"}
    mine = credentials(shop) | accept

    nobody = await server.http.post("/graphql", content="{", headers=accept | as_json)
    no_json = await server.http.post("/graphql", content="{", headers=mine | as_json)
    wrong_type = await server.http.post("/graphql", content=body, headers=mine | {"Content-Type": "text/plain"})

    assert [answer.status_code for answer in (nobody, no_json, wrong_type)] == [401, 400, 415]
    assert nobody.headers["www-authenticate"] == "Bearer"
    assert {answer.headers["content-type"] for answer in (nobody, no_json, wrong_type)} == {"application/json"}


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("subscription { nope }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription ($jobId: ID!) { robotJobProgress(jobId: $jobId) { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ('subscription { robotJobProgress(jobId: "x") { id } }', "INVALID_INPUT"),
        (f"subscription {{ robotJobProgress(jobId: 1) {{ {ALIASES} }} }}", "QUERY_TOO_COMPLEX"),
        (
            'subscription { robotJobProgress(jobId: "01890000-0000-7000-8000-000000000000") { id } }',
            "ROBOT_JOB_NOT_FOUND",
        ),
    ],
)
async def test_error_of_the_operation_is_told_as_its_last_result(
    server: Server, shop: Tenant, document: str, code: str
) -> None:
    """As the protocol has it: a user agent throws the body of a 400 away."""
    async with open_events(server, credentials(shop), document) as events:
        first, second, end = [await events.told() for _ in range(3)]
    async with open_events(server, credentials(shop), document, accept=APOLLO) as multipart:
        (part,) = parts(await multipart.answer.aread())

    assert first is not None
    event, body = first
    assert (event, body["errors"][0]["extensions"]["code"]) == ("next", code)
    assert (second, end) == (("complete", ""), None)
    assert part["payload"] == body


async def test_foreign_job_is_as_one_that_does_not_exist(server: Server, shop: Tenant, other_shop: Tenant) -> None:
    in_hand = await other_shop.job(items=1, succeeded=1)

    async with open_events(server, credentials(shop), FOLLOW, following(in_hand.job.id)) as events:
        told = await events.told()

    assert told is not None
    assert told[1]["errors"][0]["extensions"]["code"] == "ROBOT_JOB_NOT_FOUND"


async def test_pages_of_allowed_origins_may_follow(served_urls: DatabaseUrls, shop: Tenant) -> None:
    origin = "https://shop.example"
    settings = load_settings(allowed_origins=[origin])
    transport = httpx.ASGITransport(create_app(settings, served_urls, Tokens(SECRET)))
    request = {"query": "subscription { nope }"}
    headers = credentials(shop) | {"Accept": SSE, "Origin": origin}

    async with httpx.AsyncClient(transport=transport, base_url="http://api.example") as client:
        answer = await client.post("/graphql", json=request, headers=headers)

    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["content-type"] == SSE


# ---------------------------------------------------------------------------------------------- how long, how many


@pytest.fixture(scope="module")
async def hasty_server(served_urls: DatabaseUrls) -> AsyncIterator[Server]:
    settings = settings_for(served_urls) | {
        "ROBOT_JOBS_STREAMS_PER_USER": "2",
        "ROBOT_JOBS_STREAM_HEARTBEAT_S": str(HEARTBEAT_S),
        "ROBOT_JOBS_SOCKET_MAX_AGE_S": str(AGE_S),
    }
    async with running_server(**settings) as server:
        yield server


async def test_silent_streams_are_kept_alive_until_they_are_too_old(hasty_server: Server, shop: Tenant) -> None:
    """Then the answer ends without `complete`, so that the client subscribes again."""
    in_hand = await shop.job(items=1)
    request = following(in_hand.job.id)
    clock = asyncio.get_running_loop().time
    started = clock()
    received = []

    async with (
        asyncio.timeout(PATIENCE_S),
        open_events(hasty_server, credentials(shop), FOLLOW, request) as events,
        open_events(hasty_server, credentials(shop), FOLLOW, request, accept=APOLLO) as multipart,
    ):
        while (each := await events.receive()) is not None:
            received.append(each)
        lived_s = clock() - started
        *beats, last = parts(await multipart.answer.aread())

    assert {event for event, _ in received} == {""}
    assert lived_s > AGE_S - 0.5
    assert 2 < len(received) - 2 <= AGE_S / HEARTBEAT_S + 1, "without the first and the last"
    assert received[-1] == ("", "Open for too long: subscribe again.")
    assert beats == [{}] * len(beats)
    assert len(beats) > 2
    assert last == {
        "payload": None,
        "errors": [{"message": "Open for too long: subscribe again.", "extensions": {"code": "SERVICE_UNAVAILABLE"}}],
    }
    assert "Traceback" not in hasty_server.log.read_text()


async def test_one_stream_too_many_is_refused_and_the_others_go_on(
    hasty_server: Server, shop: Tenant, other_shop: Tenant
) -> None:
    in_hand, foreign = await shop.job(items=1), await other_shop.job(items=1)
    request = following(in_hand.job.id)

    async with (
        open_events(hasty_server, credentials(shop), FOLLOW, request) as first,
        open_events(hasty_server, credentials(shop), FOLLOW, request, accept=APOLLO),
        open_events(hasty_server, credentials(other_shop), FOLLOW, following(foreign.job.id)) as of_another,
    ):
        async with open_events(hasty_server, credentials(shop), FOLLOW, request) as third:
            refused = await third.told()
            ended = [await third.told(), await third.told()]
        await hasty_server.report(in_hand.items[0].id, headers=credentials(shop))
        await hasty_server.report(foreign.items[0].id, headers=credentials(other_shop))
        told = [await first.completions(), await of_another.completions()]

    assert refused is not None
    (error,) = refused[1]["errors"]
    assert error["extensions"] == {"code": "TOO_MANY_OPERATIONS", "allowed": 2}
    assert ended == [("complete", ""), None]
    assert [len(each) for each in told] == [1, 1]


async def test_client_that_goes_away_ends_the_operation_at_once(served_urls: DatabaseUrls, shop: Tenant) -> None:
    """No heartbeat is due before: it is the end of the connection that ends it."""
    in_hand = await shop.job(items=2, succeeded=1)
    settings = settings_for(served_urls) | {
        "ROBOT_JOBS_STREAMS_PER_USER": "1",
        "ROBOT_JOBS_STREAM_HEARTBEAT_S": str(2 * PATIENCE_S),
    }

    async with running_server(**settings) as server:

        async def follow() -> Any:
            async with open_events(server, credentials(shop), FOLLOW, following(in_hand.job.id)) as events:
                received = await events.told()
                assert received is not None
                return "data" in received[1]

        assert await follow()
        for _ in range(3):
            await until(follow, within_s=PROMPTLY_S)
        logged = server.log.read_text()

    assert "Traceback" not in logged
    assert "never retrieved" not in logged


# ---------------------------------------------------------------------------------------------- slow readers


@dataclass
class Client:
    """One that reads when it is let."""

    reads: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    content: bytes = b""
    is_cut: bool = False
    stops_after: int | None = None
    """Results, once."""

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        self.content += message["body"]
        if self.content.count(b"event: next") == self.stops_after:
            self.stops_after = None
            self.reads.clear()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    def abort(self) -> None:
        self.is_cut = True
        self.gone.set()
        self.reads.set()  # who waits to send is let go


@dataclass
class Source:
    """A subscription with so many results, and what has been asked of it."""

    count: int
    asked: int = 0
    is_closed: bool = False

    async def deliver(self, outlet: Outlet) -> None:
        try:
            for number in range(self.count):
                await outlet.ready()
                self.asked += 1
                await outlet.send(b'{"data":{"number":%d}}' % number)
                await asyncio.sleep(0)
            await asyncio.Event().wait()
        finally:
            self.is_closed = True


def stream_to(
    client: Client, source: Source, form: Form = EVENT_STREAM, *, heartbeat_s: float = 60.0, age_s: float = 60.0
) -> Stream:
    limits = StreamLimits(age_s=age_s, heartbeat_s=heartbeat_s)
    return Stream(form, source.deliver, client.send, client.abort, limits)


async def soon(is_so: Callable[[], object]) -> None:
    await until(is_so, within_s=PROMPTLY_S)


async def test_nothing_is_asked_for_a_client_that_does_not_read() -> None:
    """Nor is access: it would be that of before the client reads again."""
    client, source = Client(stops_after=10), Source(count=1_000)
    client.reads.set()

    running = asyncio.create_task(stream_to(client, source).run(client.receive))
    await soon(lambda: not client.reads.is_set())
    for _ in range(100):
        await asyncio.sleep(0)
    asked = source.asked
    client.reads.set()
    await soon(lambda: client.content.count(b"event: next") == 1_000)
    client.gone.set()
    await running

    assert asked == 10
    assert source.is_closed


async def test_stop_cuts_off_who_reads_nothing() -> None:
    client = Client()
    source = Source(count=10)
    streams = OpenStreams(StreamLimits(age_s=60, heartbeat_s=60), Places(1))
    stream = stream_to(client, source)
    streams.add(stream)
    running = asyncio.create_task(stream.run(client.receive))
    await asyncio.sleep(0)

    await asyncio.wait_for(streams.stop(), PROMPTLY_S)
    await asyncio.wait_for(running, PROMPTLY_S)

    assert client.is_cut
    assert streams.is_stopping


@pytest.mark.parametrize("form", [EVENT_STREAM, MULTIPART])
async def test_client_that_reads_nothing_for_long_is_cut_off(form: Form) -> None:
    client, source = Client(), Source(count=10)
    client.reads.set()
    running = asyncio.create_task(stream_to(client, source, form, heartbeat_s=0.05).run(client.receive))
    await soon(lambda: source.asked == 10 and form.heartbeat in client.content)

    client.reads.clear()
    await asyncio.wait_for(running, PROMPTLY_S)

    assert client.is_cut
    assert source.is_closed


async def test_stop_says_that_it_is_no_completion_and_closes_what_ran() -> None:
    client, source = Client(), Source(count=10)
    client.reads.set()
    stream = stream_to(client, source)
    running = asyncio.create_task(stream.run(client.receive))
    await soon(lambda: client.content.count(b"event: next") == 10)

    stream.stop()
    await asyncio.wait_for(running, PROMPTLY_S)

    assert stream.over.done()
    assert source.is_closed
    assert client.content.endswith(b"\n\n: The server is stopping: subscribe again.\n\n")
    assert b"complete" not in client.content


async def test_fault_of_the_subscription_is_told_under_an_id_and_ends_it() -> None:
    async def deliver(outlet: Outlet) -> None:
        await outlet.send(b'{"data":{"number":1}}')
        raise RuntimeError("a secret")

    client = Client()
    client.reads.set()
    limits = StreamLimits(age_s=60, heartbeat_s=60)

    await asyncio.wait_for(Stream(EVENT_STREAM, deliver, client.send, client.abort, limits).run(client.receive), 5)

    _, _, last = client.content.decode().strip().split("\n\n")[-3:]
    assert last == "event: complete\ndata:"
    assert '"code":"INTERNAL_ERROR"' in client.content.decode()
    assert "secret" not in client.content.decode()
