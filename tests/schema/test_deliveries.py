"""Equal subscriptions are executed and encoded once, and nobody is told what is not for them."""

import asyncio
import gc
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from graphql import ExecutionResult, GraphQLError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.database import owner_engine
from domain import orders
from domain.carriers import Carrier
from domain.workspaces import Membership, Role, enter_as_owner, set_member
from schema import deliveries, schema, streams
from schema.deliveries import Audience, Audiences, ClientGone
from schema.documents import find_document
from schema.followers import Follower, Message
from schema.limits import Limits
from schema.robot_jobs import feeds
from tests.conftest import Database
from tests.domain.ledger import counted_statements
from tests.schema.caller import Api, Caller, MemoryWakeUps, Stream
from tests.schema.documents import FOLLOW_ITEMS, FOLLOW_PROGRESS
from tests.servers import until
from tests.tenants import JobInHand, Tenant

WITH_ORDERS = """subscription ($jobId: ID!, $after: String) { robotJobItemCompleted(jobId: $jobId, after: $after) {
    cursor item { id order { id address } } } }"""
WITH_PAGES = """subscription ($jobId: ID!, $first: Int!) { robotJobItemCompleted(jobId: $jobId) {
    cursor job { items(first: $first) { nodes { id } } } } }"""
TWO_OPERATIONS = """
subscription A($jobId: ID!) { robotJobItemCompleted(jobId: $jobId) { cursor item { id } } }
subscription B($jobId: ID!) { robotJobItemCompleted(jobId: $jobId) { cursor job { id } } }"""


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[Audience]:
    """For whom something was executed, each time."""
    calls: list[Audience] = []
    execute = Audience._execute

    def note(self: Audience, *arguments: Any) -> Any:
        calls.append(self)
        return execute(self, *arguments)

    monkeypatch.setattr(Audience, "_execute", note)
    return calls


class ReadsOfOrders:
    """Lets the orders that messages show be slow (`go`) or fail (`faults` times)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = self.faults = 0
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()
        self._find = orders.find_orders
        monkeypatch.setattr(orders, "find_orders", self._read)

    async def _read(self, connection: AsyncConnection, order_ids: list[uuid.UUID]) -> dict[uuid.UUID, orders.Order]:
        self.count += 1
        self.reached.set()
        await self.go.wait()
        if self.count <= self.faults:
            raise ZeroDivisionError
        return await self._find(connection, order_ids)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> ReadsOfOrders:
    return ReadsOfOrders(monkeypatch)


@asynccontextmanager
async def all_hearing(
    wakeups: MemoryWakeUps, in_hand: JobInHand, *followers: tuple[Caller, str, dict[str, object]]
) -> AsyncIterator[list["asyncio.Task[Any]"]]:
    """Each follower waits for the one message that is next."""
    async with AsyncExitStack() as stack:
        followed = [
            await stack.enter_async_context(caller.follow(document, jobId=str(in_hand.job.id), **variables))
            for caller, document, variables in followers
        ]
        hearing = [asyncio.create_task(stream.message()) for stream in followed]
        await all_wait(wakeups, in_hand, len(followers))
        yield hearing


async def all_wait(wakeups: MemoryWakeUps, in_hand: JobInHand, count: int) -> None:
    assert wakeups.streams is not None
    hub = wakeups.streams

    def waiting() -> int:
        return sum(len(feed._at_head) for feed in hub._feeds.values() if feed.watched_id == in_hand.job.id)

    await until(lambda: waiting() == count)
    await wakeups.follower_waits(in_hand.job.id)


async def complete_one(tenant: Tenant, wakeups: MemoryWakeUps, in_hand: JobInHand, number: int = 0) -> None:
    await tenant.succeed(in_hand.items[number])
    wakeups.announce(in_hand.job.id)


# what is shared


@pytest.mark.parametrize("document", [FOLLOW_ITEMS, FOLLOW_PROGRESS, WITH_ORDERS], ids=["items", "progress", "orders"])
async def test_equal_subscriptions_are_executed_once_and_told_the_same_bytes(
    tenant: Tenant,
    robot: Caller,
    wakeups: MemoryWakeUps,
    executed: list[Audience],
    monkeypatch: pytest.MonkeyPatch,
    document: str,
) -> None:
    in_hand = await tenant.job(items=2)
    told: list[Any] = []
    take, plain_encode = Stream._take, deliveries.encode
    encoded: list[bytes] = []

    async with AsyncExitStack() as stack:
        followed = [
            await stack.enter_async_context(robot.follow(document, jobId=str(in_hand.job.id))) for _ in range(10)
        ]
        if document == FOLLOW_PROGRESS:
            await asyncio.gather(*(stream.message() for stream in followed))
        hearing = [asyncio.create_task(stream.message()) for stream in followed]
        await all_wait(wakeups, in_hand, 10)
        executed.clear()

        def encode(body: Any) -> bytes:
            encoded.append(plain_encode(body))
            return encoded[-1]

        def note(self: Stream, payload: Any) -> None:
            told.append(payload)
            take(self, payload)

        monkeypatch.setattr(deliveries, "encode", encode)
        monkeypatch.setattr(Stream, "_take", note)
        await complete_one(tenant, wakeups, in_hand)
        await asyncio.gather(*hearing)

    assert len(executed) == len(encoded) == 1
    assert len(told) == 10
    assert all(each == told[0] for each in told)


async def test_what_a_message_shows_beside_itself_is_read_once_for_all(
    engine: AsyncEngine, tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=2)

    async with all_hearing(wakeups, in_hand, *[(robot, WITH_ORDERS, {})] * 10) as hearing:
        await tenant.succeed(in_hand.items[0])
        with counted_statements(engine) as statements:
            wakeups.announce(in_hand.job.id)
            await asyncio.gather(*hearing)

    assert sum("FROM orders" in each for each in statements) == 1, statements


async def test_members_with_one_role_and_different_cursors_share(
    tenant: Tenant, api: Api, database: Database, wakeups: MemoryWakeUps, executed: list[Audience]
) -> None:
    in_hand = await tenant.job(items=3, succeeded=1)
    colleague = Membership(tenant.workspace_id, "colleague", Role.OPERATOR)
    await set_role(database, colleague)
    async with api.member(tenant).follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id), after="0") as stream:
        cursor = (await stream.message())["cursor"]
    callers = api.member(tenant), api.caller("colleague", tenant.workspace_id)

    followers = [(caller, FOLLOW_ITEMS, after) for caller in callers for after in ({}, {"after": cursor})]
    async with all_hearing(wakeups, in_hand, *followers) as hearing:
        executed.clear()
        await complete_one(tenant, wakeups, in_hand, 1)
        first, *others = await asyncio.gather(*hearing)

    assert len(executed) == 1
    assert all(each == first for each in others)


async def test_who_reads_from_the_ring_is_told_what_was_made_for_who_waited(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, executed: list[Audience]
) -> None:
    in_hand = await tenant.job(items=3)

    async with all_hearing(wakeups, in_hand, (robot, FOLLOW_ITEMS, {}), (robot, FOLLOW_ITEMS, {})) as (quick, slow):
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        executed.clear()
        await complete_one(tenant, wakeups, in_hand)
        cursor = (await quick)["cursor"]
        before = f"{int(cursor.partition('.')[0]) - 1}.{cursor.partition('.')[2]}"
        async with robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id), after=before) as late:
            again = await late.message()

    assert again["cursor"] == cursor
    assert len(executed) == 1


# what is not


def audience_of(audiences: Audiences, text: str = FOLLOW_ITEMS, name: str | None = None, **given: Any) -> Audience:
    workspace_id, role, carriers = given.pop("sees", (uuid.UUID(int=1), Role.VIEWER, None))
    document = find_document(text, Limits())
    return audiences.find(document, name, {"jobId": "a job"} | given, (workspace_id, role, carriers))


@pytest.mark.parametrize(
    "sees",
    [
        (uuid.UUID(int=2), Role.VIEWER, None),
        (uuid.UUID(int=1), Role.ADMIN, None),
        (uuid.UUID(int=1), Role.VIEWER, (Carrier.COORDINADORA,)),
        (uuid.UUID(int=1), Role.VIEWER, ()),
    ],
    ids=["workspace", "role", "carriers", "no carriers"],
)
def test_who_may_see_other_things_is_another_audience(sees: tuple[Any, ...]) -> None:
    audiences = Audiences(schema._schema)

    assert audience_of(audiences) is audience_of(audiences)
    assert audience_of(audiences) is not audience_of(audiences, sees=sees)


def test_what_is_asked_decides_who_is_equal() -> None:
    audiences = Audiences(schema._schema)
    kept = [
        audience_of(audiences),
        audience_of(audiences, FOLLOW_ITEMS + " "),
        audience_of(audiences, TWO_OPERATIONS, "A"),
        audience_of(audiences, TWO_OPERATIONS, "B"),
        audience_of(audiences, WITH_PAGES, first=1),
        audience_of(audiences, WITH_PAGES, first=2),
        audience_of(audiences, WITH_PAGES, first=True),
        audience_of(audiences, WITH_PAGES, first=None),
        audience_of(audiences, WITH_PAGES),
    ]

    assert len(set(kept)) == len(kept)
    assert audience_of(audiences, WITH_PAGES, first=1, jobId="another") is kept[4]


@pytest.mark.parametrize(
    "inner",
    [
        "robotJobProgress(jobId: $jobId) { id @include(if: $x) }",
        "robotJobProgress(jobId: $jobId) @include(if: $x) { id }",
        "... on Subscription @include(if: $x) { robotJobProgress(jobId: $jobId) { id } }",
        "...Root",
        "robotJobProgress(jobId: $jobId) { ...Inner }",
    ],
)
def test_a_variable_counts_wherever_it_is_used_below_the_root_field(inner: str) -> None:
    document = f"""subscription ($jobId: ID!, $x: Boolean!) {{ {inner} }}
        fragment Root on Subscription {{ robotJobProgress(jobId: $jobId) {{ id @skip(if: $x) }} }}
        fragment Inner on RobotJob {{ id @skip(if: $x) }}"""
    audiences = Audiences(schema._schema)

    assert audience_of(audiences, document, x=True) is not audience_of(audiences, document, x=False)


async def test_other_variables_below_the_root_field_are_answered_apart(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=3)

    followers: list[tuple[Caller, str, dict[str, object]]] = [(robot, WITH_PAGES, {"first": n}) for n in (1, 2, 2)]
    async with all_hearing(wakeups, in_hand, *followers) as hearing:
        await complete_one(tenant, wakeups, in_hand)
        told = await asyncio.gather(*hearing)

    assert [len(each["job"]["items"]["nodes"]) for each in told] == [1, 2, 2]


async def test_another_role_and_a_key_of_some_carriers_are_executed_for_themselves(
    tenant: Tenant, api: Api, wakeups: MemoryWakeUps, executed: list[Audience]
) -> None:
    in_hand = await tenant.job(items=2)
    everywhere, somewhere = await tenant.key(), await tenant.key(carriers=[Carrier.COORDINADORA])
    callers = [
        api.member(tenant, Role.VIEWER),
        api.member(tenant, Role.ADMIN),
        api.robot(everywhere.secret),
        api.robot(somewhere.secret),
    ]

    async with all_hearing(wakeups, in_hand, *((caller, FOLLOW_ITEMS, {}) for caller in callers * 2)) as hearing:
        executed.clear()
        await complete_one(tenant, wakeups, in_hand)
        await asyncio.gather(*hearing)

    assert len(executed) == len(set(executed)) == 4


async def test_who_has_another_role_meanwhile_is_in_another_audience(
    tenant: Tenant,
    api: Api,
    database: Database,
    wakeups: MemoryWakeUps,
    executed: list[Audience],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "ACCESS_ASKED_EVERY_S", 0.02)
    in_hand = await tenant.job(items=3)
    changing = Membership(tenant.workspace_id, tenant.user(Role.ADMIN), Role.VIEWER)

    callers = api.member(tenant, Role.ADMIN), api.member(tenant, Role.VIEWER)
    async with all_hearing(wakeups, in_hand, *((caller, FOLLOW_ITEMS, {}) for caller in callers)) as hearing:
        await set_role(database, changing)
        await until(lambda: {each.access.membership.role for each in api.streams._followers} == {Role.VIEWER})
        await all_wait(wakeups, in_hand, 2)
        executed.clear()
        await complete_one(tenant, wakeups, in_hand)
        first, second = await asyncio.gather(*hearing)

    assert len(executed) == 1
    assert first == second


async def set_role(database: Database, membership: Membership) -> None:
    async with owner_engine(database.urls).begin() as connection:
        await enter_as_owner(connection)
        await set_member(connection, membership)


# what was read beside a message


async def test_what_was_read_beside_a_message_is_shared_for_a_while_only(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, reads: ReadsOfOrders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "SHARED_FOR_S", 0.1)
    in_hand = await tenant.job(items=2)

    async with all_hearing(wakeups, in_hand, (robot, WITH_ORDERS, {})) as (quick,):
        (feed,) = robot.streams._feeds.values()
        assert isinstance(feed, feeds.CompletionFeed)
        await complete_one(tenant, wakeups, in_hand)
        before = await quick
        await tenant.change_order(in_hand.items[0].order_id, address="Calle 9 # 9-9")
        (message,) = feed._kept
        await until(lambda: not message.made)
        cursor = before["cursor"].partition(".")
        async with robot.follow(
            WITH_ORDERS, jobId=str(in_hand.job.id), after=f"{int(cursor[0]) - 1}.{cursor[2]}"
        ) as late:
            after = await late.message()

    assert before["item"]["order"]["address"] == "Calle 1 # 2-3"
    assert after["item"]["order"]["address"] == "Calle 9 # 9-9"
    assert reads.count >= 2


async def test_who_leaves_while_something_is_read_does_not_take_it_from_the_others(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, reads: ReadsOfOrders, executed: list[Audience]
) -> None:
    in_hand = await tenant.job(items=2)

    async with AsyncExitStack() as staying:
        async with robot.follow(WITH_ORDERS, jobId=str(in_hand.job.id)) as leaving:
            first = asyncio.create_task(leaving.message())
            await all_wait(wakeups, in_hand, 1)  # the first who waits is whose context it is executed in
            others = [
                await staying.enter_async_context(robot.follow(WITH_ORDERS, jobId=str(in_hand.job.id)))
                for _ in range(3)
            ]
            hearing = [asyncio.create_task(stream.message()) for stream in others]
            await all_wait(wakeups, in_hand, 4)
            executed.clear()
            reads.go.clear()
            await complete_one(tenant, wakeups, in_hand)
            await reads.reached.wait()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
        reads.go.set()
        told = await asyncio.gather(*hearing)

    assert [each["item"]["order"]["address"] for each in told] == ["Calle 1 # 2-3"] * 3
    assert len(executed) == 1


async def test_an_error_is_nobody_elses(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, reads: ReadsOfOrders
) -> None:
    in_hand = await tenant.job(items=2)
    reads.faults = 1  # the one that all wait for

    async with all_hearing(wakeups, in_hand, *[(robot, WITH_ORDERS, {})] * 3) as hearing:
        (feed,) = robot.streams._feeds.values()
        assert isinstance(feed, feeds.CompletionFeed)
        await complete_one(tenant, wakeups, in_hand)
        told = await asyncio.gather(*hearing)
        (message,) = feed._kept

    assert [each["item"]["order"]["address"] for each in told] == ["Calle 1 # 2-3"] * 3
    assert message.made == {}
    assert reads.count == 4


def test_an_error_met_at_once_is_nobody_elses(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    audience = Audiences(schema._schema).find(find_document(FOLLOW_ITEMS, Limits()), None, {}, "all")
    results = iter([ExecutionResult(None, [GraphQLError("of one follower")]), ExecutionResult({"told": True})])
    monkeypatch.setattr(audience, "_execute", lambda *_: next(results))
    message, context = Message(1, None), api.nobody().context()

    assert audience.payload_at_once(message, context) is None
    assert message.made == {}
    assert audience.payload_at_once(message, context) == b'{"data":{"told":true}}'


async def test_what_is_made_of_a_message_goes_with_those_it_was_made_for(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=2)

    async with all_hearing(wakeups, in_hand, (robot, FOLLOW_ITEMS, {})) as (staying,):
        (feed,) = robot.streams._feeds.values()
        assert isinstance(feed, feeds.CompletionFeed)
        await complete_one(tenant, wakeups, in_hand)
        cursor = (await staying)["cursor"].partition(".")
        (message,) = feed._kept
        for number in range(4):
            document = FOLLOW_ITEMS + f"# {number}"
            after = f"{int(cursor[0]) - 1}.{cursor[2]}"
            async with robot.follow(document, jobId=str(in_hand.job.id), after=after) as passing:
                await passing.message()
            del passing
            gc.collect()  # of those who are gone

    assert len(message.made) <= 2


# ends


class Outlet:
    """The way to a client; the next send finds it gone when `is_gone` is set."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.is_gone = False

    def offer(self, payload: bytes) -> bool:  # noqa: ARG002 -- as outlets have it
        return False

    async def ready(self) -> None:
        pass

    async def send(self, payload: bytes) -> None:
        if self.is_gone:
            self.is_gone = False
            raise ClientGone
        self.told.append(payload)


async def test_a_client_who_is_gone_ends_the_subscription_and_is_told_no_fault(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, engine: AsyncEngine
) -> None:
    in_hand = await tenant.job(items=2)
    outlet = Outlet()
    document = find_document(FOLLOW_ITEMS, robot.limits)
    delivering = asyncio.create_task(
        schema.deliver(document, None, {"jobId": str(in_hand.job.id)}, robot.context(), outlet)
    )
    await until(lambda: len(robot.streams._followers) == 1)
    await wakeups.follower_waits(in_hand.job.id)
    outlet.is_gone = True
    await complete_one(tenant, wakeups, in_hand)

    with pytest.raises(ClientGone):
        await delivering

    assert outlet.told == []
    assert not robot.streams._followers
    assert not robot.streams._feeds
    assert wakeups.watched[in_hand.job.id] == []
    await until(lambda: not streams.Repeated._running)
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # a queue pool counts


async def test_who_cannot_be_told_at_once_keeps_nothing_from_the_others(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_hand = await tenant.job(items=4)
    push: Callable[..., bool] = Follower.push

    async with all_hearing(wakeups, in_hand, *[(robot, FOLLOW_ITEMS, {})] * 3) as hearing:
        (feed,) = robot.streams._feeds.values()
        faulty = list(feed._at_head)[1]

        def push_or_fail(self: Follower, *arguments: Any) -> bool:
            if self is faulty:
                raise ZeroDivisionError
            return push(self, *arguments)

        monkeypatch.setattr(Follower, "push", push_or_fail)
        await complete_one(tenant, wakeups, in_hand)
        told = await asyncio.gather(*hearing)

    assert [each["item"]["id"] for each in told] == [str(in_hand.items[0].id)] * 3


async def test_a_fault_shared_by_many_is_not_a_longer_story_for_each(
    tenant: Tenant,
    robot: Caller,
    wakeups: MemoryWakeUps,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    in_hand = await tenant.job(items=1)

    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    async with AsyncExitStack() as stack:
        followed = [
            await stack.enter_async_context(robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id))) for _ in range(10)
        ]
        ending = [asyncio.create_task(stream.error_and_end()) for stream in followed]
        await all_wait(wakeups, in_hand, 10)
        monkeypatch.setattr(feeds, "read_completions_of_jobs", fail)
        wakeups.announce(in_hand.job.id)
        await asyncio.gather(*ending)

    lengths = [len(str(record.exc_text or "").splitlines()) for record in caplog.records if record.exc_info]
    assert len(lengths) == 10
    assert max(lengths) == min(lengths) > 0
