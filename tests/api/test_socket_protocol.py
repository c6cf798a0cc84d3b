"""graphql-transport-ws by the book, and the WebSockets under it: RFC 6455.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md: each message in each state, as it should be and not.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast
from unittest.mock import Mock, call

import pytest
import uvicorn.server
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from api import websocket_protocol
from api.database import DatabaseUrls
from api.websocket_protocol import FRAMES_AT_ONCE, WebSocketProtocol
from tests.api.wire import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close_frame,
    connected,
    frame,
    length,
    open_wire,
    request,
    text,
    upgrade,
)
from tests.servers import (
    FOLLOW,
    PATIENCE_S,
    Server,
    Socket,
    credentials,
    following,
    raw_socket,
    running_server,
    settings_for,
    until,
)
from tests.tenants import Tenant

TYPENAME = {"query": "{ __typename }"}
NOBODY_SAYS = ("Traceback", "never retrieved", "Exception in", "Fatal error", "Task was destroyed")
MAX_MESSAGE = 1_000_000


@pytest.fixture(autouse=True)
def _is_quiet(server: Server) -> Iterator[None]:
    """Whatever clients do, the log has nothing of it."""
    logged = len(server.log.read_text())
    yield
    said = server.log.read_text()[logged:]
    assert not [words for words in NOBODY_SAYS if words in said], said


def subscribe(operation_id: object, payload: object = TYPENAME) -> dict[str, object]:
    return {"type": "subscribe", "id": operation_id, "payload": payload}


# ---------------------------------------------------------------------------------------------- each in each state

INIT = {"type": "connection_init"}
NEW, READY, FOLLOWING, ENDED = "new", "ready", "following", "ended"
ALWAYS = (NEW, READY, FOLLOWING, ENDED)
LATER = (READY, FOLLOWING, ENDED)
SERVED = ["next", "complete"]

# Which messages, in which states, and what comes of them: what is answered, or the code that closes the socket.
BOOK: list[tuple[object, tuple[str, ...], list[str] | int]] = [
    (INIT | {"payload": "credentials"}, (NEW,), ["connection_ack"]),
    (INIT, (NEW,), 4403),
    (INIT | {"payload": None}, (NEW,), 4403),
    (INIT | {"payload": {}}, (NEW,), 4403),
    (INIT | {"payload": []}, ALWAYS, 4400),
    (INIT | {"payload": "x"}, ALWAYS, 4400),
    (INIT | {"payload": 0}, ALWAYS, 4400),
    (INIT, LATER, 4429),
    (INIT | {"payload": "credentials"}, LATER, 4429),
    ({"type": "ping"}, ALWAYS, ["pong"]),
    ({"type": "ping", "payload": None}, ALWAYS, ["pong"]),
    ({"type": "ping", "payload": {"at": 1}}, ALWAYS, ["pong"]),
    ({"type": "ping", "payload": "x"}, ALWAYS, 4400),
    ({"type": "ping", "payload": 0}, ALWAYS, 4400),
    ({"type": "pong"}, ALWAYS, []),
    ({"type": "pong", "payload": {"at": 1}}, ALWAYS, []),
    ({"type": "pong", "payload": []}, ALWAYS, 4400),
    (subscribe("1"), (NEW,), 4401),
    (subscribe("1"), (READY, ENDED), SERVED),
    (subscribe("1"), (FOLLOWING,), 4409),
    (subscribe("1", {"query": FOLLOW}), (FOLLOWING,), 4409),
    (subscribe("2"), LATER, SERVED),
    (subscribe("2", TYPENAME | {"variables": None, "operationName": None, "extensions": None}), LATER, SERVED),
    (subscribe("2", TYPENAME | {"variables": {}, "extensions": {"x": 1}}), LATER, SERVED),
    (subscribe("2", {"query": "mutation { __typename }"}), LATER, SERVED),
    (subscribe("2", {"query": "subscription { nope }"}), LATER, ["error"]),
    (subscribe("2", {"query": "{"}), LATER, ["error"]),
    (subscribe("2", {"query": ""}), LATER, ["error"]),
    (subscribe("2", TYPENAME | {"operationName": "Nobody"}), LATER, ["error"]),
    (subscribe("2", {"query": "query ($x: Int!) { __typename @skip(if: $x) }"}), LATER, ["error"]),
    (subscribe("2" * 10_000), LATER, SERVED),
    (subscribe("\ud800"), LATER, SERVED),
    (subscribe(""), ALWAYS, 4400),
    (subscribe(None), ALWAYS, 4400),
    (subscribe(5), ALWAYS, 4400),
    (subscribe({"a": 1}), ALWAYS, 4400),
    ({"type": "subscribe", "payload": TYPENAME}, ALWAYS, 4400),
    ({"type": "subscribe", "id": "2"}, ALWAYS, 4400),
    (subscribe("2", None), ALWAYS, 4400),
    (subscribe("2", "{ __typename }"), ALWAYS, 4400),
    (subscribe("2", [TYPENAME]), ALWAYS, 4400),
    (subscribe("2", {"query": None}), ALWAYS, 4400),
    (subscribe("2", TYPENAME | {"variables": []}), ALWAYS, 4400),
    (subscribe("2", TYPENAME | {"extensions": "x"}), ALWAYS, 4400),
    (subscribe("2", TYPENAME | {"operationName": 1}), ALWAYS, 4400),
    ({"type": "complete", "id": "1"}, ALWAYS, []),
    ({"type": "complete", "id": "nobody's"}, ALWAYS, []),
    ({"type": "complete"}, ALWAYS, 4400),
    ({"type": "complete", "id": 1}, ALWAYS, 4400),
    ({"type": "complete", "id": ""}, ALWAYS, 4400),
    ({"type": "connection_ack"}, ALWAYS, 4400),
    ({"type": "next", "id": "1", "payload": {}}, ALWAYS, 4400),
    ({"type": "error", "id": "1", "payload": []}, ALWAYS, 4400),
    ({"type": "start", "id": "1", "payload": TYPENAME}, ALWAYS, 4400),
    ({"type": "connection_terminate"}, ALWAYS, 4400),
    ({"type": "PING"}, ALWAYS, 4400),
    ({"type": None}, ALWAYS, 4400),
    ({"type": ""}, ALWAYS, 4400),
    ({"id": "1"}, ALWAYS, 4400),
    ([], ALWAYS, 4400),
    ([{"type": "ping"}], ALWAYS, 4400),
    ("ping", ALWAYS, 4400),
    (None, ALWAYS, 4400),
    (1, ALWAYS, 4400),
    (True, ALWAYS, 4400),
]
CASES = [(message, state, expected) for message, states, expected in BOOK for state in states]


async def reach(state: str, socket: Socket, shop: Tenant) -> None:
    """A socket in that state; where one is followed, it is operation 1, of a job that tells nothing."""
    if state == NEW:
        return
    await socket.send(INIT | {"payload": credentials(shop)})
    assert await socket.receive() == {"type": "connection_ack"}
    if state == FOLLOWING:
        await socket.follow((await shop.job(items=1)).job.id)
    elif state == ENDED:
        await socket.subscribe("{ __typename }", {})
        assert [(await socket.receive())["type"] for _ in range(2)] == SERVED


async def said_until_pong(socket: Socket, awaited: int) -> list[Any]:
    """What is said on the socket: at least so many messages, and none is left over."""
    said: list[Any] = []
    marks = 0
    await socket.send({"type": "ping", "payload": {"mark": 1}})
    while marks < 2:
        message = await socket.receive()
        if message.get("payload") == {"mark": marks + 1}:
            marks += 1
        else:
            said.append(message)
        if marks == 1 and len(said) >= awaited:
            await socket.send({"type": "ping", "payload": {"mark": 2}})
            awaited = 1_000_000
    return said


@pytest.mark.parametrize(
    ("message", "state", "expected"), CASES, ids=[f"{json.dumps(case[0])[:50]}-{case[1]}" for case in CASES]
)
async def test_each_message_is_answered_in_each_state_as_the_protocol_has_it(
    server: Server, shop: Tenant, message: Any, state: str, expected: list[str] | int
) -> None:
    async with raw_socket(server) as socket:
        await reach(state, socket, shop)

        if isinstance(message, dict) and message.get("payload") == "credentials":
            message = message | {"payload": credentials(shop)}
        await socket.send(message)
        if isinstance(expected, int):
            assert (await socket.closing())[0] == expected
            return
        said = await said_until_pong(socket, len(expected))

    assert [each["type"] for each in said] == expected
    assert {each["id"] for each in said if "id" in each} <= {message.get("id")}


@pytest.mark.parametrize("payload", [{"at": 1}, {}, {"deep": [{"x": None}]}, {"half": "\ud800"}])
async def test_pong_brings_back_what_ping_brought(server: Server, payload: dict[str, object]) -> None:
    async with raw_socket(server) as socket:
        await socket.send({"type": "ping", "payload": payload})
        await socket.send({"type": "ping", "payload": None})

        assert await socket.receive() == {"type": "pong", "payload": payload}
        assert await socket.receive() == {"type": "pong"}


async def test_single_result_of_an_operation_that_was_completed_is_not_told(server: Server, shop: Tenant) -> None:
    """And its id is free at once, for one that is."""
    async with raw_socket(server) as socket:
        await reach(READY, socket, shop)

        for number in range(50):
            await socket.subscribe(f"{{ orders {{ nodes {{ id }} }} old{number}: __typename }}", {})
            await socket.send({"type": "complete", "id": "1"})
        await socket.subscribe("{ new: __typename }", {})
        said = await said_until_pong(socket, 2)

    assert [each["type"] for each in said] == SERVED
    assert said[0]["payload"] == {"data": {"new": "Query"}}


async def test_complete_that_crosses_the_servers_own_is_ignored(server: Server, shop: Tenant) -> None:
    in_hand = await shop.job(items=1, succeeded=1)

    async with raw_socket(server) as socket:
        await reach(READY, socket, shop)
        for number in range(30):
            await socket.follow(in_hand.job.id, after="0", operation_id=str(number))
            if number % 3 == 0:
                await asyncio.sleep(0.002 * (number % 5))
            await socket.send({"type": "complete", "id": str(number)})
        said = await said_until_pong(socket, 0)

    for number in range(30):
        assert [each["type"] for each in said if each["id"] == str(number)] in ([], ["next"], SERVED)


async def test_error_ends_an_operation_and_frees_its_id(server: Server, shop: Tenant) -> None:
    async with raw_socket(server) as socket:
        await reach(READY, socket, shop)

        for _ in range(3):
            await socket.subscribe("{ nope }", {})
            assert (await socket.receive())["type"] == "error"
        await socket.subscribe("{ __typename }", {})
        said = await said_until_pong(socket, 2)

    assert [each["type"] for each in said] == SERVED


async def test_what_comes_with_connection_init_is_looked_at_after_it(server: Server, shop: Tenant) -> None:
    """The server cannot tell whether a message that follows was sent before the acknowledgement or after it."""
    init = text(INIT | {"payload": credentials(shop)})
    async with open_wire(server) as served, open_wire(server) as refused, open_wire(server) as twice:
        await served.send(init, text(subscribe("1")))
        await refused.send(text(INIT), text(subscribe("1")))
        await twice.send(init, init)

        assert [(await served.message())["type"] for _ in range(3)] == ["connection_ack", *SERVED]
        assert await refused.closing() == 4403
        assert await twice.closing() == 4429


# ---------------------------------------------------------------------------------------------- handshakes


@pytest.mark.parametrize("protocol", [None, "graphql-ws", "soap", "GRAPHQL-TRANSPORT-WS", "x" * 5_000])
async def test_other_subprotocols_are_not_acceptable(server: Server, protocol: str | None) -> None:
    async with open_wire(server, Sec_WebSocket_Protocol=protocol) as wire:
        assert await wire.closing() == 4406


async def test_the_one_that_is_spoken_here_is_chosen_of_several(server: Server) -> None:
    protocols = [Subprotocol(name) for name in ("graphql-ws", "graphql-transport-ws", "soap")]
    async with connect(f"{server.url.replace('http', 'ws')}/graphql", subprotocols=protocols, proxy=None) as connection:
        assert connection.subprotocol == "graphql-transport-ws"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ({"headers": upgrade(Sec_WebSocket_Version="8")}, 426),
        ({"headers": upgrade(Sec_WebSocket_Key=None)}, 400),
        ({"headers": upgrade(Sec_WebSocket_Key="short")}, 400),
        ({"headers": upgrade(Origin="https://elsewhere.example")}, 403),
        ({"headers": upgrade(), "path": "/elsewhere"}, 403),
        ({"headers": upgrade(), "method": "POST"}, 405),
        ({"headers": upgrade() + [("X-Much", "x")] * 200}, 431),
        ({"headers": upgrade(X_Long="x" * 10_000)}, 431),
        ({"headers": upgrade(X_Odd="é")}, 101),
    ],
    ids=["version", "no key", "short key", "origin", "path", "method", "many headers", "long header", "odd header"],
)
async def test_handshake_is_answered_whatever_is_wrong_with_it(
    server: Server, head: dict[str, Any], status: int
) -> None:
    async with connected(server) as wire:
        await wire.send(request(server, **head))
        answer = await wire.reader.readuntil(b"\r\n\r\n")

        assert int(answer.split()[1]) == status
        if status != 101:
            await wire.send(b"GET / HTTP/1.1\r\n\r\n", frame(TEXT, b"{}"))
            assert not (await wire.end()).startswith(b"HTTP")


# ---------------------------------------------------------------------------------------------- frames

LONG = json.dumps({"type": "ping", "payload": {"x": "y" * 5 * MAX_MESSAGE}}).encode()


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param([text({"type": "ping"}, is_masked=False)], 1002, id="unmasked"),
        pytest.param([text({"type": "ping"}, rsv=4)], 1002, id="RSV1"),
        pytest.param([text({"type": "ping"}, rsv=1)], 1002, id="RSV3"),
        pytest.param([frame(0x3, b"x")], 1002, id="unknown data opcode"),
        pytest.param([frame(0xB)], 1002, id="unknown control opcode"),
        pytest.param([frame(PING, b"x" * 126)], 1002, id="ping over 125 bytes"),
        pytest.param([frame(PING, b"x", fin=False)], 1002, id="ping in fragments"),
        pytest.param([frame(CONTINUATION, b"x")], 1002, id="continuation of nothing"),
        pytest.param([frame(TEXT, b"{", fin=False), frame(TEXT, b"}")], 1002, id="new message within another"),
        pytest.param([frame(TEXT, b"{", fin=False), close_frame(1000)], 1002, id="close within a message"),
        pytest.param([frame(0x8, b"x")], 1002, id="close with half a code"),
        pytest.param([close_frame(999)], 1002, id="close 999"),
        pytest.param([close_frame(1005)], 1002, id="close 1005"),
        pytest.param([close_frame(1006)], 1002, id="close 1006"),
        pytest.param([close_frame(1016)], 1002, id="close 1016"),
        pytest.param([close_frame(5000)], 1002, id="close 5000"),
        pytest.param([close_frame(1000, b"\xff")], 1007, id="close with a reason that is no text"),
        pytest.param([frame(TEXT, b'{"type":"\xff"}')], 1007, id="text that is not UTF-8"),
        pytest.param([frame(TEXT, b"\xed\xa0\x80")], 1007, id="half a surrogate pair"),
        pytest.param([frame(TEXT, b"\xc3", fin=False), frame(CONTINUATION, b"(")], 1007, id="not UTF-8, in fragments"),
        pytest.param([frame(TEXT, b"\xff"), close_frame(1000)], 1000, id="not UTF-8, and goodbye"),
        pytest.param([frame(TEXT, b"\xff"), frame(PING), text({"type": "ping"})], 1007, id="not UTF-8, and more"),
        pytest.param([frame(TEXT, LONG)], 1009, id="five times too long"),
        pytest.param([frame(TEXT, LONG[:600_000], fin=False), frame(CONTINUATION, LONG)], 1009, id="both too long"),
        pytest.param([b"\x81" + length(MAX_MESSAGE + 1)], 1009, id="announced as too long"),
        pytest.param([b"\x81\xff" + b"\x7f" * 8], 1009, id="announced as endless"),
        pytest.param([frame(BINARY, b'{"type":"ping"}')], 4400, id="binary"),
        pytest.param([frame(TEXT)], 4400, id="empty"),
        pytest.param([close_frame(1000)], 1000, id="normal closure"),
        pytest.param([close_frame(1001, b"bye")], 1001, id="going away"),
        pytest.param([close_frame(3000)], 3000, id="a registered code"),
        pytest.param([close_frame(4499)], 4499, id="a code of one's own"),
        pytest.param([close_frame(None)], 1005, id="close without a code"),
        pytest.param([close_frame(1000), text({"type": "ping"}) * 1_000], 1000, id="close, and more"),
    ],
)
@pytest.mark.parametrize("state", [NEW, READY, FOLLOWING])
async def test_frame_is_answered_as_the_standard_has_it(
    server: Server, shop: Tenant, state: str, frames: list[bytes], code: int
) -> None:
    async with open_wire(server, None if state == NEW else credentials(shop)) as wire:
        if state == FOLLOWING:
            variables = following((await shop.job(items=1)).job.id)
            await wire.send(text(subscribe("1", {"query": FOLLOW, "variables": variables})))
        await wire.send(*frames)

        assert await wire.closing() == code
        assert await wire.end() == b""


async def test_control_frames_are_answered_between_the_fragments_of_a_message(server: Server) -> None:
    whole = json.dumps({"type": "ping", "payload": {"x": "é"}}, ensure_ascii=False).encode()
    cut = whole.index(b"\xc3") + 1  # in the middle of a character

    async with open_wire(server) as wire:
        await wire.send(
            frame(TEXT, whole[:cut], fin=False),
            frame(PING, b"are you there"),
            frame(CONTINUATION, b"", fin=False),
            frame(PONG, b"unasked"),
            frame(CONTINUATION, whole[cut:]),
        )

        assert await wire.receive() == (PONG, b"are you there")
        assert await wire.message() == {"type": "pong", "payload": {"x": "é"}}


@pytest.fixture
async def opened(server: Server) -> AsyncIterator[tuple[WebSocketProtocol, Mock]]:
    """The server's end of a WebSocket, and its transport."""

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await asyncio.Event().wait()

    protocol, transport = (
        WebSocketProtocol(uvicorn.Config(app), uvicorn.server.ServerState(), {}),
        Mock(asyncio.Transport),
    )
    transport.is_closing.return_value = False
    protocol.connection_made(transport)
    protocol.data_received(request(server, upgrade()))
    protocol.conn.send_response(protocol.response)
    protocol.conn.data_to_send()
    await asyncio.sleep(0)  # the application has begun
    yield protocol, transport
    (task,) = protocol.tasks
    task.cancel()
    await asyncio.wait([task])


def written(transport: Mock) -> bytes:
    return b"".join(each.args[0] for each in transport.write.call_args_list)


async def test_empty_fragments_of_a_message_are_not_kept(opened: tuple[WebSocketProtocol, Mock]) -> None:
    """There can be any number of them: the limit counts bytes."""
    protocol, _ = opened

    protocol.data_received(frame(TEXT, b"{", fin=False) + frame(CONTINUATION, fin=False) * 300)

    assert protocol.frames == [b"{"]


async def test_pongs_for_a_client_that_reads_nothing_are_not_kept(opened: tuple[WebSocketProtocol, Mock]) -> None:
    """But for the last ones: a client that reads again has an answer to what it asked last."""
    protocol, transport = opened
    protocol.pause_writing()

    for _ in range(20):
        protocol.data_received(frame(PING, b"x" * 125) * 10)
        protocol.data_received(frame(PING, b"the last"))
    assert written(transport) == b""
    protocol.resume_writing()

    assert written(transport) == b"\x8a\x08the last"


async def test_client_that_sends_without_end_is_read_later(opened: tuple[WebSocketProtocol, Mock]) -> None:
    """Nobody else waits for it; in its turn everything is answered."""
    protocol, transport = opened
    pong = b"\x8a\x01x"

    protocol.data_received(frame(PING, b"x") * 1_200)
    at_once = written(transport).count(pong)
    is_paused = transport.pause_reading.called
    await until(lambda: written(transport).count(pong) == 1_200, within_s=PATIENCE_S)

    assert FRAMES_AT_ONCE <= at_once < 2 * FRAMES_AT_ONCE
    assert is_paused
    transport.resume_reading.assert_called()


async def test_messages_wait_with_the_client_until_the_application_takes_them(
    opened: tuple[WebSocketProtocol, Mock],
) -> None:
    protocol, transport = opened
    protocol.queue.get_nowait()  # the connection
    sent = [{"type": "ping", "payload": {"number": number}} for number in range(300)]

    protocol.data_received(b"".join(text(message) for message in sent))
    waiting = protocol.queue.qsize()
    taken = [cast("dict[str, Any]", await protocol.receive())["text"] for _ in sent]

    assert waiting < 100
    assert [json.loads(each) for each in taken] == sent
    assert transport.method_calls[-1] == call.resume_reading()


async def test_client_that_answers_no_ping_is_given_up_however_much_waits_for_it(
    opened: tuple[WebSocketProtocol, Mock], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_protocol, "TAKES_ITS_LEAVE_WITHIN_S", 0.05)
    protocol, transport = opened
    protocol.queue.get_nowait()  # the connection
    protocol.pause_writing()

    protocol.keepalive_timeout()

    told = protocol.queue.get_nowait()
    assert (told["type"], told.get("code")) == ("websocket.disconnect", 1011)
    assert written(transport) == b"\x88\x18\x03\xf3keepalive ping timeout"
    await until(lambda: transport.abort.called, within_s=5)
    protocol.resume_writing()
    with pytest.raises(ClientDisconnected):
        await protocol.send({"type": "websocket.send", "text": "more"})


# ---------------------------------------------------------------------------------------------- who goes without a word


@pytest.fixture(scope="module")
async def lonely_server(served_urls: DatabaseUrls) -> AsyncIterator[Server]:
    """One socket and one stream for each user: whoever is not gone for good keeps out the next."""
    settings = settings_for(served_urls) | {
        "ROBOT_JOBS_SOCKETS_PER_USER": "1",
        "ROBOT_JOBS_STREAMS_PER_USER": "1",
        "ROBOT_JOBS_SOCKET_PING_S": "600",
    }
    async with running_server(**settings) as server:
        yield server
        said = server.log.read_text()
        assert not [words for words in NOBODY_SAYS if words in said], said


@pytest.mark.parametrize("way", ["end of stream", "reset", "half a frame", "after a flood"])
@pytest.mark.parametrize("state", [NEW, READY, FOLLOWING])
async def test_client_that_goes_without_a_word_leaves_its_places_at_once(
    lonely_server: Server, shop: Tenant, state: str, way: str
) -> None:
    in_hand = await shop.job(items=1)
    follow = text(subscribe("1", {"query": FOLLOW, "variables": following(in_hand.job.id)}))

    async with open_wire(lonely_server, None if state == NEW else credentials(shop)) as wire:
        if state == FOLLOWING:
            await wire.send(follow)
        if way == "half a frame":
            await wire.send(frame(TEXT, b"x" * 1_000)[:500])
        elif way == "after a flood":
            await wire.send(text({"type": "ping"}) * 5_000)
        if way == "reset":
            wire.writer.transport.abort()
        else:
            wire.writer.close()

    await follows_anew(lonely_server, shop, follow)


async def follows_anew(server: Server, shop: Tenant, follow: bytes) -> None:
    """Until another socket of the same user has a place, and a place for its operation."""
    async with asyncio.timeout(20):
        while True:
            async with open_wire(server) as wire:
                await wire.send(text(INIT | {"payload": credentials(shop)}), follow, text({"type": "ping"}))
                try:
                    said = [(await wire.message())["type"] for _ in range(2)]
                except (AssertionError, asyncio.IncompleteReadError):  # closed: no place yet
                    continue
                if said == ["connection_ack", "pong"]:
                    return
