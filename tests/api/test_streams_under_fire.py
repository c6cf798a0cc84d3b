"""Two replicas, and all that may happen to them: who comes again with a cursor is told each completion once, in order.

Replicas are killed and stopped, the network forgets the connection that listens, PostgreSQL is restarted, and clients
are cut off all the time.  Each trouble begins in the midst of a batch of results; the next comes when everybody knows
of the whole batch.
"""

import asyncio
import os
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from api.database import DatabaseUrls, bring_up_to_date
from api.embedded_postgres import (
    APP_ROLE,
    OWNER_ROLE,
    EmbeddedPostgres,
    ensure_roles_and_database,
    start_embedded_postgres,
)
from domain.events import EventType
from domain.robot_jobs import ItemResult, ResultStatus, RobotJobItem, update_job_item_result
from domain.workspaces import Role, enter_workspace
from tests.api.network import Network
from tests.api.resuming import (
    COMES_AGAIN_AFTER_S,
    HTTP_BROKE,
    BoardClient,
    Client,
    CompletionClient,
    ProgressClient,
    StateClient,
    assert_says_try_again,
    by_events,
    by_parts,
    by_socket,
)
from tests.api.test_stopping import waits_for_a_lock
from tests.conftest import UNSAFE_BUT_FAST
from tests.servers import PATIENCE_S, REPORT, Server, credentials, open_socket, running_server, settings_for, until
from tests.tenants import JobInHand, Tenant, make_tenant

IS_LARGE = int(os.environ.get("ROBOT_JOBS_TESTS_RESULTS", "0")) >= 1_000  # where every change is tried
ITEMS, CLIENTS = (500, 20) if IS_LARGE else (120, 8)
REPORTERS = 4
SLOW_READERS = 2
CUTS_PER_RESULT = 0.3  # of some connection, a client's or a reporter's
CAUGHT_UP_WITHIN_S = 30.0  # the regular read, or the keep-alive of the connection that listens, on a busy machine
STOPS_WITHIN_S = 10.0
NOWHERE = 0  # a port that nobody listens on


# ---------------------------------------------------------------------------------------------- the scene


class Cluster:
    """A PostgreSQL of the test's own."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self.urls = DatabaseUrls(server.url(APP_ROLE, "fire"), server.url(OWNER_ROLE, "fire"), is_embedded=True)

    async def restart(self) -> None:
        await self.stop()
        await asyncio.to_thread(start_embedded_postgres, self.server.home, settings=UNSAFE_BUT_FAST)

    async def stop(self) -> None:
        lock_file = self.server.home / "data" / "postmaster.pid"
        os.kill(int(lock_file.read_text().split()[0]), signal.SIGINT)  # "fast"
        await until(lambda: not lock_file.exists())


@pytest.fixture
async def cluster(reachable_folder: Path) -> AsyncIterator[Cluster]:
    home = reachable_folder / "postgres"
    cluster = Cluster(await asyncio.to_thread(start_embedded_postgres, home, settings=UNSAFE_BUT_FAST))
    await ensure_roles_and_database(cluster.server, "fire")
    await bring_up_to_date(cluster.urls)
    yield cluster
    await cluster.stop()


class Replica:
    """A server process with a network on both sides.

    `door`: how clients see it, at one address however often it is started.
    """

    door: Server

    def __init__(self, urls: DatabaseUrls, socket: Path) -> None:
        self.database = Network(socket)
        self.entrance = Network(NOWHERE)
        self._settings = settings_for(urls)
        self._urls = urls
        self._running, self._closing = AsyncExitStack(), AsyncExitStack()

    async def start(self) -> None:
        await self.database.mend()
        settings = self._settings | {"DATABASE_URL": self.database.url(self._urls)}
        self._server = await self._running.enter_async_context(running_server(**settings))
        self.entrance.target = self._server.port
        await self.entrance.mend()
        if not hasattr(self, "door"):
            url = f"http://127.0.0.1:{self.entrance.port}"
            http = httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False)
            self.door = replace(self._server, url=url, http=await self._closing.enter_async_context(http))

    async def end(self, number: signal.Signals) -> None:
        await self._server.end(number)
        self.entrance.target = NOWHERE
        assert "Traceback" not in self._server.log.read_text()
        await self._running.aclose()

    async def close(self) -> None:
        await self._running.aclose()
        await self.entrance.close()
        await self.database.close()
        await self._closing.aclose()


@asynccontextmanager
async def two_replicas(cluster: Cluster) -> AsyncIterator[tuple[Replica, Replica]]:
    socket = cluster.server.socket_dir / ".s.PGSQL.5432"
    replicas = Replica(cluster.urls, socket), Replica(cluster.urls, socket)
    try:
        await asyncio.gather(*(replica.start() for replica in replicas))
        yield replicas
    finally:
        for replica in replicas:
            await replica.close()


class Job:
    """A job whose results are reported at any replica, again and again until they are acknowledged.

    `through`: the replicas that are reported to now.  `is_cut_off`: whether results cut connections at random.
    """

    def __init__(self, tenant: Tenant, in_hand: JobInHand, replicas: Sequence[Replica], choice: random.Random) -> None:
        self.id = in_hand.job.id
        self.acknowledged = 0
        self.through = list(replicas)
        self.is_cut_off = False
        self._headers = credentials(tenant)
        self._replicas = replicas
        self._choice = choice
        self._open = list(enumerate(in_hand.items))
        self._batch: asyncio.Queue[tuple[int, RobotJobItem]] = asyncio.Queue()
        self._handed_out = 0

    def hand_out(self, count: int) -> None:
        """Let so many more results be reported, if there are as many."""
        batch, self._open = self._open[:count], self._open[count:]
        self._handed_out += len(batch)
        for each in batch:
            self._batch.put_nowait(each)

    async def quiet(self) -> None:
        """Until all that was handed out is acknowledged."""
        await until(lambda: self.acknowledged == self._handed_out)

    async def report(self) -> None:
        """One reporter, for ever."""
        while True:
            number, item = await self._batch.get()
            result: dict[str, object] = {"itemId": str(item.id), "status": "SUCCESS", "trackingNumber": f"T-{number}"}
            if number % 7 == 3:
                result = {"itemId": str(item.id), "status": "ERROR", "errorType": "PORTAL", "errorMessage": "No."}
            while not await self._is_taken(result):  # noqa: ASYNC110 -- there is no event: a client tries again
                await asyncio.sleep(COMES_AGAIN_AFTER_S)
            self.acknowledged += 1
            if self.is_cut_off and self._choice.random() < CUTS_PER_RESULT:
                self._choice.choice(self._replicas).entrance.cut_one(self._choice)

    async def _is_taken(self, result: dict[str, object]) -> bool:
        try:
            answer = await self._choice.choice(self.through).door.ask(REPORT, {"input": result}, headers=self._headers)
        except HTTP_BROKE:
            return False
        if "errors" in answer:
            assert_says_try_again(answer)
            return False
        assert answer["data"]["updateJobItemResult"]["__typename"] == "UpdateJobItemResultSuccess", answer
        return True


@contextmanager
def reproducible() -> Iterator[random.Random]:
    """Choices of a seed that a failure tells, and ROBOT_JOBS_TESTS_SEED repeats."""
    seed = int(os.environ.get("ROBOT_JOBS_TESTS_SEED", random.getrandbits(32)))
    try:
        yield random.Random(seed)  # noqa: S311 -- no secret
    except BaseException as error:
        error.add_note(f"ROBOT_JOBS_TESTS_SEED={seed}")
        raise


Told = tuple[str, str, int, int]
"""Of a completion: cursor, item, and the counters as of it."""


async def read_log(tenant: Tenant, job_id: uuid.UUID) -> list[Told]:
    """What is to be told."""
    return [
        (
            f"{event.seq}.{job_id.hex[-8:]}",
            event.payload["itemId"],
            event.payload["job"]["successCount"],
            event.payload["job"]["errorCount"],
        )
        for event in await tenant.events(job_id)
        if event.type == EventType.ITEM_COMPLETED
    ]


def told_to(client: CompletionClient) -> list[Told]:
    return [
        (told["cursor"], told["item"]["id"], told["job"]["successCount"], told["job"]["errorCount"])
        for told in client.told
    ]


# ---------------------------------------------------------------------------------------------- the tests


@pytest.mark.long
async def test_whatever_happens_each_client_is_told_each_completion_once_and_in_order(cluster: Cluster) -> None:
    engine = create_async_engine(cluster.urls.app, poolclass=NullPool)
    tenant = await make_tenant(cluster.urls, engine)
    in_hand = await tenant.job(items=ITEMS)
    completion_clients: list[CompletionClient] = []
    state_clients: list[StateClient] = []

    with reproducible() as choice:
        async with two_replicas(cluster) as (one, two), asyncio.TaskGroup() as group:
            job = Job(tenant, in_hand, (one, two), choice)
            common = (one.door, two.door), credentials(tenant), choice
            about: dict[str, Any] = {"job_id": job.id, "acknowledged": lambda: job.acknowledged}
            following: list[asyncio.Task[None]] = []

            def join_with_half(*replicas: Replica) -> None:
                """Most of them from the beginning, every fourth from now on."""
                for _ in range(CLIENTS // 2):
                    number = len(completion_clients)
                    client = CompletionClient(
                        (by_socket, by_events, by_parts)[number % 3],
                        *common,
                        after=None if number % 4 == 3 else "0",
                        ready=job.quiet if number < SLOW_READERS else None,
                        **about,
                    )
                    completion_clients.append(client)
                    following.append(group.create_task(client.follow(replicas[number % len(replicas)].door)))

            def behind() -> list[Client]:
                clients: list[Client] = [*completion_clients, *state_clients]
                return [client for client in clients if not client.has_reached(job.acknowledged)]

            async def batch(trouble: Callable[[], Awaitable[None]]) -> None:
                """A sixth of the results, with trouble in the midst of them."""
                before = job.acknowledged
                job.hand_out(ITEMS // 6)
                await until(lambda: job.acknowledged >= before + ITEMS // 18)
                await trouble()
                await job.quiet()
                await until(lambda: not behind(), within_s=CAUGHT_UP_WITHIN_S)

            async def one_is_killed() -> None:
                await one.end(signal.SIGKILL)
                await one.start()

            async def two_hears_nothing() -> None:
                """Half of all are there; and some come who read in the log what two has not heard of."""
                await until(lambda: all(client.has_reached(1) for client in (*completion_clients, *state_clients)))
                job.through = [one]
                two.database.forget_listening()
                job.hand_out(ITEMS // 10)
                await job.quiet()
                join_with_half(two)

            async def two_is_stopped() -> None:
                started = time.monotonic()
                await two.end(signal.SIGTERM)
                assert time.monotonic() - started < STOPS_WITHIN_S

            join_with_half(one, two)
            for replica in (one, two):
                for kind, transport in ((ProgressClient, by_events), (BoardClient, by_socket)):
                    state_clients.append(kind(transport, *common, **about))
                    following.append(group.create_task(state_clients[-1].follow(replica.door)))
            reporters = [group.create_task(job.report()) for _ in range(REPORTERS)]

            await batch(two_hears_nothing)
            job.through, job.is_cut_off = [one, two], True
            await batch(one_is_killed)
            await batch(cluster.restart)
            await until(two.database.listening)  # by its keep-alive: nobody said that the connection was lost
            await batch(two_is_stopped)
            job.hand_out(ITEMS)
            await asyncio.gather(*following)
            for reporter in reporters:
                reporter.cancel()
            await one.end(signal.SIGKILL)

        log = await read_log(tenant, job.id)
        finished = (await tenant.read(job.id)).job
        assert (len(log), finished.status.is_active) == (ITEMS, False)
        for client in completion_clients:
            told = told_to(client)
            assert told == log[-len(told) :]
            assert len(told) == ITEMS if client.begins_at_once else 0 < len(told) <= ITEMS - client.closed_before
        for watching in state_clients:
            assert watching.state["status"] == finished.status.upper()
            assert (watching.state["successCount"], watching.state["errorCount"]) == log[-1][2:]
        cuts = sum((client.cuts for client in [*completion_clients, *state_clients]), Counter[str]())
        assert cuts.total() > CLIENTS, cuts
    await engine.dispose()


async def test_streams_of_all_kinds_go_on_elsewhere_when_a_server_is_stopped(
    served_urls: DatabaseUrls, server: Server, shop: Tenant
) -> None:
    in_hand = await shop.job(items=30)
    headers = credentials(shop)
    reported = 0

    async with running_server(**settings_for(served_urls)) as leaving, asyncio.TaskGroup() as group:
        about: dict[str, Any] = {"job_id": in_hand.job.id, "acknowledged": lambda: reported}
        common = [server], headers, random.Random(0)  # noqa: S311 -- no secret
        clients = [
            CompletionClient(transport, *common, after="0", **about) for transport in (by_socket, by_events, by_parts)
        ]
        watching = [
            kind(transport, *common, **about)
            for kind in (ProgressClient, BoardClient)
            for transport in (by_socket, by_events, by_parts)
        ]
        for client in (*clients, *watching):
            group.create_task(client.follow(leaving))
        for item in in_hand.items:
            await server.report(item.id, headers=headers)
            reported += 1
            if reported == 10:
                await until(lambda: all(client.has_reached(10) for client in (*clients, *watching)))
                leaving.process.send_signal(signal.SIGTERM)
                stopped_at = time.monotonic()
        await asyncio.to_thread(leaving.process.wait, STOPS_WITHIN_S)
        assert time.monotonic() - stopped_at < STOPS_WITHIN_S

    log = await read_log(shop, in_hand.job.id)
    assert [told_to(client) for client in clients] == [log] * 3
    assert [client.state["successCount"] for client in watching] == [30] * 6
    ends = [{"1001": 1}, {"end of stream": 1}, {"SERVICE_UNAVAILABLE": 1}]
    assert [dict(client.cuts) for client in (*clients, *watching)] == ends * 3


async def test_commits_in_the_opposite_order_of_their_start_are_told_in_order_at_every_replica(
    server: Server, other_server: Server, served_engine: AsyncEngine, shop: Tenant
) -> None:
    in_hand = await shop.job(items=4)

    async def begin(connection: AsyncConnection) -> None:
        await connection.begin()
        await enter_workspace(connection, shop.user(Role.ROBOT), shop.workspace_id)
        await connection.execute(sa.text("SELECT pg_current_xact_id()"))  # it has begun, and has its number

    async def write(connection: AsyncConnection, item: RobotJobItem) -> None:
        result = ItemResult(item_id=item.id, status=ResultStatus.SUCCESS, tracking_number=f"T-{item.id}")
        await update_job_item_result(connection, result, reported_by=shop.user(Role.ROBOT))

    async def announce() -> None:
        async with served_engine.begin() as connection:
            await connection.execute(sa.select(sa.func.pg_notify("robot_jobs", str(in_hand.job.id))))

    async with (
        open_socket(server, credentials(shop)) as here,
        open_socket(other_server, credentials(shop)) as there,
    ):
        told: list[list[str]] = [[], []]
        for socket in (here, there):
            await socket.follow(in_hand.job.id, after="0")
        for earlier_item, later_item in (in_hand.items[:2], in_hand.items[2:]):
            async with served_engine.connect() as earlier, served_engine.connect() as later:
                await begin(earlier)
                await begin(later)
                await write(later, later_item)
                writing = asyncio.create_task(write(earlier, earlier_item))  # waits for the job's row
                await until(lambda: waits_for_a_lock(served_engine))
                await later.commit()
                await announce()
                for socket, seen in zip((here, there), told, strict=True):
                    seen.append((await socket.completion())["item"]["id"])
                await writing
                await earlier.commit()
                await announce()
            for socket, seen in zip((here, there), told, strict=True):
                seen.append((await socket.completion())["item"]["id"])

    assert told == [[str(in_hand.items[number].id) for number in (1, 0, 3, 2)]] * 2
