"""Access on open sockets and streams.

What is lost is lost for whoever follows within five seconds, and for the next operation at once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import sqlalchemy as sa

from api.database import DatabaseUrls, owner_engine
from domain.api_keys import api_keys, make_secret
from domain.workspaces import Role, enter_as_owner, workspace_members
from tests.api.test_issuer_keys import RSA, Issuer, served
from tests.servers import (
    FOLLOW,
    Server,
    Socket,
    credentials,
    following,
    open_events,
    open_socket,
    raw_socket,
    running_server,
    settings_for,
)
from tests.tenants import Tenant

ENDS_WITHIN_S = 5.0
Loss = Callable[[], Awaitable[None]]


async def as_owner(urls: DatabaseUrls, statement: sa.Update | sa.Delete) -> None:
    async with owner_engine(urls).begin() as owner:
        await enter_as_owner(owner)
        await owner.execute(statement)


@pytest.fixture(params=["revoked key", "expired key", "revoked member", "expired token"])
async def losing(
    request: pytest.FixtureRequest, served_urls: DatabaseUrls, shop: Tenant
) -> AsyncIterator[tuple[dict[str, str], Loss, str]]:
    """A socket's payload, how its access is lost, and the code that says so."""
    match request.param:
        case "revoked key" | "expired key":
            created = await shop.key()
            column = "revoked_at" if request.param == "revoked key" else "expires_at"

            async def end() -> None:
                of_key = sa.update(api_keys).where(api_keys.c.id == created.api_key.id)
                await as_owner(served_urls, of_key.values({column: sa.func.now()}))

            yield {"Authorization": f"Bearer {created.secret}"}, end, "UNAUTHENTICATED"
        case "revoked member":

            async def remove() -> None:
                member = workspace_members.c.user_id == shop.user(Role.VIEWER)
                await as_owner(served_urls, sa.delete(workspace_members).where(member))

            yield credentials(shop, Role.VIEWER), remove, "NOT_A_MEMBER"
        case _:
            until = asyncio.get_running_loop().time() + 3

            async def wait() -> None:
                await asyncio.sleep(until - asyncio.get_running_loop().time())  # a token has but its own clock

            yield credentials(shop, lifetime_s=3), wait, "UNAUTHENTICATED"


async def test_a_stream_without_news_ends_within_five_seconds(
    server: Server, shop: Tenant, losing: tuple[dict[str, str], Loss, str]
) -> None:
    payload, lose, code = losing
    in_hand = await shop.job(items=2, succeeded=1)
    clock = asyncio.get_running_loop().time

    async with open_socket(server, payload) as socket:
        await socket.follow(in_hand.job.id, after="0")
        await socket.completion()
        await lose()
        lost_at = clock()
        ended = await socket.receive()
        lived_s = clock() - lost_at

    assert ended["payload"]["errors"][0]["extensions"]["code"] == code
    assert lived_s < ENDS_WITHIN_S


async def test_a_stream_over_http_ends_with_the_reason_within_five_seconds(
    server: Server, shop: Tenant, losing: tuple[dict[str, str], Loss, str]
) -> None:
    headers, lose, code = losing
    in_hand = await shop.job(items=2, succeeded=1)
    clock = asyncio.get_running_loop().time

    async with open_events(server, headers, FOLLOW, following(in_hand.job.id)) as events:
        await events.completion()
        await lose()
        lost_at = clock()
        last, *ended = [await events.told() for _ in range(3)]
        lived_s = clock() - lost_at

    assert last is not None
    assert last[1]["errors"][0]["extensions"]["code"] == code
    assert ended == [("complete", ""), None]
    assert lived_s < ENDS_WITHIN_S


async def test_the_next_operation_on_an_idle_socket_is_refused(
    server: Server, losing: tuple[dict[str, str], Loss, str]
) -> None:
    payload, lose, code = losing

    async with open_socket(server, payload) as socket:
        before = await ask(socket, "1")
        await lose()
        after = await ask(socket, "2")

    assert "errors" not in before
    assert {error["extensions"]["code"] for error in after["errors"]} == {code}


async def ask(socket: Socket, operation_id: str) -> dict[str, list[dict[str, dict[str, str]]]]:
    await socket.subscribe("{ orders { nodes { id } } }", {}, operation_id=operation_id)
    answer: dict[str, list[dict[str, dict[str, str]]]] = (await socket.receive())["payload"]
    assert (await socket.receive())["type"] == "complete"
    return answer


@pytest.mark.parametrize("secret", [make_secret(), "rjk_x", "rjk_" + "a" * 49], ids=["unknown", "short", "misspelled"])
async def test_a_socket_without_a_good_key_is_closed_with_4403(server: Server, secret: str) -> None:
    async with raw_socket(server) as socket:
        await socket.send({"type": "connection_init", "payload": {"Authorization": f"Bearer {secret}"}})

        assert await socket.closing() == (4403, "Forbidden")


async def test_a_key_follows_the_jobs_of_its_workspace(server: Server, shop: Tenant, other_shop: Tenant) -> None:
    in_hand, foreign = await shop.job(items=1), await other_shop.job(items=1)
    key = {"Authorization": f"Bearer {(await shop.key()).secret}"}

    async with open_socket(server, key) as socket:
        await socket.follow(in_hand.job.id, after="0")
        assert (await server.report(in_hand.items[0].id, headers=key))["__typename"] == "UpdateJobItemResultSuccess"
        (told,) = await socket.completions()
        await socket.subscribe(FOLLOW, {"jobId": str(foreign.job.id), "after": "0"}, operation_id="2")
        refused = (await socket.receive())["payload"]

    assert told["job"]["status"] == "COMPLETED"
    assert refused["errors"][0]["extensions"]["code"] == "ROBOT_JOB_NOT_FOUND"


async def test_the_use_of_a_key_is_recorded_by_the_server(server: Server, shop: Tenant) -> None:
    created = await shop.key()
    headers = {"Authorization": f"Bearer {created.secret}"}

    answer = await server.ask("{ viewer { apiKey { id } workspaces { id } } }", headers=headers)

    assert answer["data"]["viewer"]["apiKey"]["id"] == str(created.api_key.id)
    async with asyncio.timeout(ENDS_WITHIN_S):
        while True:
            async with shop.work(Role.ADMIN) as connection:
                if await connection.scalar(sa.select(api_keys.c.last_used_at)):
                    return
            await asyncio.sleep(0.01)


async def test_a_server_with_an_issuers_keys_lets_its_people_in(served_urls: DatabaseUrls, shop: Tenant) -> None:
    user = shop.user(Role.OPERATOR)
    async with served(Issuer()) as issuer:
        settings = settings_for(served_urls) | {
            "ROBOT_JOBS_JWKS_URL": issuer.url,
            "ROBOT_JOBS_JWT_ISSUER": "https://login.example/",
            "NO_PROXY": "127.0.0.1",
        }
        del settings["ROBOT_JOBS_JWT_SECRET"]
        async with running_server(**settings) as server:
            good = {"Authorization": f"Bearer {RSA.sign(sub=user)}"}
            answer = await server.ask("{ viewer { user { id } workspaces { id role } } }", headers=good)
            issuer.answer = b""
            by_stranger = {"Authorization": f"Bearer {RSA.sign(sub=user, iss='https://another.example/')}"}
            refused = await server.ask("{ viewer { user { id } } }", headers=by_stranger)
            async with open_socket(server, good) as socket:
                assert "errors" not in await ask(socket, "1")

    assert answer["data"]["viewer"] == {
        "user": {"id": user},
        "workspaces": [{"id": str(shop.workspace_id), "role": "OPERATOR"}],
    }
    assert refused["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_while_the_issuer_is_away_its_people_are_told_to_try_again(
    served_urls: DatabaseUrls, shop: Tenant
) -> None:
    settings = settings_for(served_urls) | {
        "ROBOT_JOBS_JWKS_URL": "http://127.0.0.1:1/jwks.json",
        "ROBOT_JOBS_JWT_ISSUER": "https://login.example/",
        "NO_PROXY": "127.0.0.1",
    }
    headers = {"Authorization": f"Bearer {RSA.sign(sub=shop.user(Role.VIEWER))}"}
    async with running_server(**settings) as server:
        answer = await server.ask("{ viewer { user { id } } }", headers=headers)
        async with raw_socket(server) as socket:
            await socket.send({"type": "connection_init", "payload": headers})
            closed_with, reason = await socket.closing()
        logged = server.log.read_text()

    assert answer["errors"][0]["extensions"]["code"] == "SERVICE_UNAVAILABLE"
    assert (closed_with, reason) == (1013, "Try again later")
    assert "no keys from http://127.0.0.1:1/jwks.json" in logged
    assert "Traceback" not in logged
