"""Tenants, orders and jobs for tests: name only what matters, the rest has defaults."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from api.database import DatabaseUrls, owner_engine
from domain.accounts import Breaker, carrier_accounts
from domain.api_keys import CreatedApiKey, create_api_key
from domain.base import new_id
from domain.carrier_configs import CarrierConfigChanges, ShippingDefaultsChanges, upsert_carrier_config
from domain.carriers import Carrier
from domain.envelopes import KeyRing
from domain.events import events
from domain.evidence import evidence
from domain.order_import import ImportedOrders, import_orders
from domain.orders import Order, UpdatedOrder, find_orders, orders, update_order
from domain.pages import PageRequest
from domain.pedido_input import ShippingDefaults
from domain.robot_jobs import (
    Attempt,
    ClaimedItems,
    ClaimPurpose,
    CreatedRobotJob,
    ErrorType,
    Event,
    ExpiredLeases,
    HeldLease,
    ItemResult,
    JobStatus,
    OnInvalid,
    OrderSelection,
    RecordedResult,
    ReleaseReason,
    ReleaseState,
    RenewedLease,
    ResolvedOutcome,
    ResultStatus,
    RetriedItems,
    RobotJob,
    RobotJobItem,
    UnclaimableItems,
    claim_job_items,
    claim_lookups,
    close_unclaimable_items,
    create_robot_job,
    end_expired_leases,
    get_job_with_items,
    list_attempts,
    list_events,
    mark_item_submitting,
    release_job_items,
    renew_leases,
    resolve_unknown_outcome,
    retry_failed_items,
    robot_job_attempts,
    robot_job_items,
    robot_jobs,
    update_job_item_result,
    update_job_status,
)
from domain.robot_jobs.tables import robot_job_lookups
from domain.workspaces import (
    Membership,
    Role,
    create_workspace,
    enter_all_workspaces,
    enter_as_owner,
    enter_workspace,
    set_member,
)

HEADER = (
    "order_id,contact_name,contact_phone,contact_email,shipping_address,shipping_city,shipping_department,"
    "products,units,total_value,declared_value,tags,is_cod"
)

PATIENT = Breaker(errors=1_000_000)
"""Robots may die as often as a test needs."""
TENANT_TABLES = (orders, robot_jobs, robot_job_items, robot_job_attempts, events, evidence)


def csv_of(*references: str, city: str = "Medellín", department: str = "Antioquia", total: str = "52900") -> str:
    """A CSV file with one good order per reference."""
    lines = [
        f"{reference},Ana Gómez,3091234567,ana@example.com,Calle 1 # 2-3,{city},{department},"
        f"1x Gorra,1,{total},55000,,true"
        for reference in references
    ]
    return "\n".join([HEADER, *lines]) + "\n"


@dataclass(frozen=True, slots=True)
class JobInHand:
    """A job as it was made, with its items in order."""

    job: RobotJob
    items: list[RobotJobItem]


@dataclass(frozen=True, slots=True)
class Tenant:
    """A workspace, and the ways to work in it: each method is one committed transaction."""

    engine: AsyncEngine
    workspace_id: uuid.UUID

    def user(self, role: Role) -> str:
        return f"{role}@{self.workspace_id}"

    @asynccontextmanager
    async def work(self, role: Role = Role.OPERATOR) -> AsyncIterator[AsyncConnection]:
        """A transaction within the workspace, committed at the end."""
        async with self.engine.begin() as connection:
            await enter_workspace(connection, self.user(role), self.workspace_id)
            yield connection

    async def key(self, name: str = "robot 1", **options: Any) -> CreatedApiKey:
        """An API key, made by the workspace's admin."""
        async with self.work(Role.ADMIN) as connection:
            return await create_api_key(
                connection,
                workspace_id=self.workspace_id,
                created_by=self.user(Role.ADMIN),
                name=name,
                **options,
            )

    async def orders(self, count: int = 3, *, city: str = "Medellín", department: str = "Antioquia") -> list[Order]:
        references = [f"ORD-{new_id().hex[-12:]}-{number}" for number in range(count)]
        imported = await self.import_csv(csv_of(*references, city=city, department=department))
        return [line.order for line in imported.imported]

    async def orders_named(self, *references: str) -> list[Order]:
        return [line.order for line in (await self.import_csv(csv_of(*references))).imported]

    async def import_csv(self, csv_text: str) -> ImportedOrders:
        async with self.work() as connection:
            return await import_orders(connection, workspace_id=self.workspace_id, csv_text=csv_text)

    async def order(self, order_id: uuid.UUID) -> Order:
        async with self.work() as connection:
            return (await find_orders(connection, [order_id]))[order_id]

    async def change_order(self, order_id: uuid.UUID, **changes: Any) -> UpdatedOrder:
        async with self.work() as connection:
            return await update_order(connection, order_id, changes)

    async def job(
        self,
        items: int = 3,
        *,
        succeeded: int = 0,
        failed: int = 0,
        idempotency_key: str | None = None,
        orders: Sequence[Order] | None = None,
        carrier: Carrier = Carrier.COORDINADORA,
    ) -> JobInHand:
        """A job of that many new orders; the first ones have succeeded, the next ones failed, the others are open."""
        job_orders = orders if orders is not None else await self.orders(items)
        created = await self.create(
            [order.id for order in job_orders], idempotency_key=idempotency_key, carrier=carrier
        )
        in_hand = await self.read(created.job.id)
        for item in in_hand.items[:succeeded]:
            await self.succeed(item)
        for item in in_hand.items[succeeded : succeeded + failed]:
            await self.fail(item)
        return await self.read(created.job.id) if succeeded or failed else in_hand

    async def create(
        self,
        order_ids: Sequence[uuid.UUID] | None,
        *,
        on_invalid: OnInvalid = OnInvalid.REJECT_ALL,
        ship_again_reason: str | None = None,
        idempotency_key: str | None = None,
        carrier: Carrier = Carrier.COORDINADORA,
    ) -> CreatedRobotJob:
        """Of those orders, or of all that are ready."""
        async with self.work() as connection:
            return await create_robot_job(
                connection,
                workspace_id=self.workspace_id,
                created_by=self.user(Role.OPERATOR),
                carrier=carrier,
                selection=OrderSelection(order_ids, all_ready=order_ids is None),
                on_invalid=on_invalid,
                ship_again_reason=ship_again_reason,
                idempotency_key=idempotency_key,
            )

    async def configure(
        self,
        *,
        defaults: ShippingDefaults | None = None,
        carrier: Carrier = Carrier.COORDINADORA,
        key_ring: KeyRing | None = None,
        **changes: Any,
    ) -> None:
        """The config for a carrier; what it does not say is as in a new one, or stays."""
        if defaults is not None:
            given = {each.name: getattr(defaults, each.name) for each in fields(defaults)}
            changes["shipping_defaults"] = ShippingDefaultsChanges(**given)
        async with self.work(Role.ADMIN) as connection:
            await upsert_carrier_config(
                connection,
                carrier,
                CarrierConfigChanges(**{"username": "shop"} | changes),
                workspace_id=self.workspace_id,
                updated_by=self.user(Role.ADMIN),
                key_ring=key_ring,
            )

    async def retry(self, job_id: uuid.UUID, *items: RobotJobItem) -> RetriedItems:
        """Those items, or without any all that may be."""
        async with self.work() as connection:
            return await retry_failed_items(connection, job_id, item_ids=[item.id for item in items] or None)

    async def set_status(
        self,
        job_id: uuid.UUID,
        status: JobStatus,
        *,
        error: str | None = None,
        error_type: ErrorType | None = None,
    ) -> RobotJob:
        async with self.work() as connection:
            return await update_job_status(
                connection, job_id, status, updated_by=self.user(Role.OPERATOR), error=error, error_type=error_type
            )

    async def claim(
        self,
        limit: int = 1,
        *,
        lease_s: int = 3_600,
        robot: str = "robot",
        carrier: Carrier = Carrier.COORDINADORA,
        claim_id: uuid.UUID | None = None,
        purpose: ClaimPurpose = ClaimPurpose.SHIP,
        breaker: Breaker = Breaker(),  # noqa: B008 -- frozen
    ) -> ClaimedItems:
        """For longer than a run of all tests: a sweep serves every tenant of the database."""
        async with self.work(Role.ROBOT) as connection:
            return await (claim_job_items if purpose is ClaimPurpose.SHIP else claim_lookups)(
                connection,
                carrier,
                workspace_id=self.workspace_id,
                claimed_by=robot,
                claim_id=claim_id,
                limit=limit,
                lease_s=lease_s,
                breaker=breaker,
            )

    async def mark(self, item: RobotJobItem, *, number: str | None = None) -> RobotJobItem:
        """By the lease that was claimed with it."""
        async with self.work(Role.ROBOT) as connection:
            return await mark_item_submitting(connection, held(item), reserved_number=number)

    async def release(self, *items: RobotJobItem, **options: Any) -> list[ReleaseState]:
        """By the leases that were claimed with them; as a robot that stops, unless another reason is given."""
        async with self.work(Role.ROBOT) as connection:
            options = {"reason": ReleaseReason.STOPPING} | options
            released = await release_job_items(connection, [held(item) for item in items], **options)
        return [each.state for each in released]

    async def look_up_now(self) -> ClaimedItems:
        """What waits to be looked up again need not wait any longer."""
        async with self.work() as connection:
            await connection.execute(sa.update(robot_job_lookups).values(not_before=None))
        return await self.claim(purpose=ClaimPurpose.LOOK_UP)

    async def run_out_lookups(self) -> None:
        """The leases of its look-ups ran out a moment ago."""
        async with self.work() as connection:
            await connection.execute(sa.update(robot_job_lookups).values(lease_expires_at=sa.func.now()))

    async def make_probe_due(self) -> float:
        """The next probe of the account that pauses is due now; how many seconds it would have been away."""
        async with self.work() as connection:
            wait_s = await connection.scalar(
                sa.select(sa.extract("epoch", carrier_accounts.c.probe_at - sa.func.clock_timestamp()))
            )
            await connection.execute(sa.update(carrier_accounts).values(probe_at=sa.func.clock_timestamp()))
        assert wait_s is not None, "no account"
        return float(wait_s)

    async def renew(self, *items: RobotJobItem, lease_s: int = 3_600) -> list[RenewedLease]:
        async with self.work(Role.ROBOT) as connection:
            return await renew_leases(connection, [held(item) for item in items], lease_s=lease_s)

    async def run_out(self, *items: RobotJobItem) -> None:
        """Their leases ran out a moment ago, unless they have ended."""
        async with self.work() as connection:
            await connection.execute(
                sa.update(robot_job_items)
                .where(robot_job_items.c.lease_token.in_([held(item).token for item in items]))
                .values(lease_expires_at=sa.func.clock_timestamp())
            )

    async def sweep(self, *, breaker: Breaker = PATIENT) -> ExpiredLeases:
        """The leases that have run out, in all workspaces."""
        async with self.engine.begin() as connection:
            await enter_all_workspaces(connection)
            return await end_expired_leases(connection, breaker=breaker)

    async def close_unclaimable(self) -> UnclaimableItems:
        """What no robot may take, in all workspaces."""
        async with self.engine.begin() as connection:
            await enter_all_workspaces(connection)
            return await close_unclaimable_items(connection)

    async def resolve(
        self, item: RobotJobItem, *, found: str | None = None, reason: str = "Looked it up in the portal.", by: str = ""
    ) -> ResolvedOutcome:
        """Found with that number; without one confirmed absent."""
        async with self.work() as connection:
            resolved = await resolve_unknown_outcome(
                connection,
                item.id,
                reason=reason,
                resolved_by=by or self.user(Role.OPERATOR),
                tracking_number=found,
                confirmed_absent=found is None,
            )
        assert isinstance(resolved, ResolvedOutcome)
        return resolved

    async def item(self, item: RobotJobItem) -> RobotJobItem:
        """As it is now."""
        return next(each for each in (await self.read(item.job_id)).items if each.id == item.id)

    async def lose_outcome(self, item: RobotJobItem) -> None:
        """Nobody knows any more whether the failed item has a parcel."""
        async with self.work() as connection:
            await connection.execute(
                sa.update(robot_job_items)
                .where(robot_job_items.c.id == item.id)
                .values(error_type=ErrorType.TIMEOUT.value, outcome_unknown=True)
            )

    async def events(self, stream_id: uuid.UUID) -> list[Event]:
        async with self.work() as connection:
            return (await list_events(connection, [stream_id], after_seq=0, limit=10_000))[stream_id]

    async def attempts(self, item: RobotJobItem) -> list[Attempt]:
        async with self.work() as connection:
            return (await list_attempts(connection, [item.id]))[item.id]

    async def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that the workspace holds, to compare before and after."""
        async with self.work() as connection:
            return {
                table.name: sorted((tuple(row) for row in await connection.execute(sa.select(table))), key=repr)
                for table in TENANT_TABLES
            }

    async def read(self, job_id: uuid.UUID) -> JobInHand:
        async with self.work() as connection:
            read = await get_job_with_items(connection, job_id, page=PageRequest.of(first=1_000, at_most=1_000))
        return JobInHand(read.job, read.items.rows)

    async def succeed(
        self, item: RobotJobItem, *, attempt: int | None = None, tracking_number: str | None = None
    ) -> RecordedResult | Exception:
        return await self.report(
            ItemResult(
                item_id=item.id,
                status=ResultStatus.SUCCESS,
                attempt=attempt,
                tracking_number=tracking_number or f"TRK-{item.id.hex[-10:]}",
            )
        )

    async def fail(
        self,
        item: RobotJobItem,
        *,
        attempt: int | None = None,
        error_type: ErrorType = ErrorType.PORTAL,
        message: str = "The portal said no.",
    ) -> RecordedResult | Exception:
        return await self.report(
            ItemResult(
                item_id=item.id,
                status=ResultStatus.ERROR,
                attempt=attempt,
                error_type=error_type,
                error_message=message,
            )
        )

    async def report(self, result: ItemResult) -> RecordedResult | Exception:
        async with self.work(Role.ROBOT) as connection:
            return await update_job_item_result(connection, result, reported_by=self.user(Role.ROBOT))


def held(item: RobotJobItem) -> HeldLease:
    """The lease that was claimed with the item."""
    if item.lease_token is None:
        raise AssertionError("the item was not leased")
    return HeldLease(item.id, item.lease_token)


_owners: dict[DatabaseUrls, AsyncEngine] = {}


@asynccontextmanager
async def tenants_made_quickly(urls: DatabaseUrls) -> AsyncIterator[None]:
    """While the block lasts the owner of that database stays connected: a new connection is most of what one costs."""
    # Asked first whether it is still there, for some tests end all connections.
    _owners[urls] = create_async_engine(urls.owner, pool_size=1, pool_pre_ping=True, connect_args={"timeout": 30})
    yield
    await _owners.pop(urls).dispose()


async def make_tenant(urls: DatabaseUrls, engine: AsyncEngine) -> Tenant:
    tenant = Tenant(engine, new_id())
    async with (_owners.get(urls) or owner_engine(urls)).begin() as connection:
        await enter_as_owner(connection)
        await create_workspace(connection, tenant.workspace_id, "A shop")
        for role in Role:
            await set_member(connection, Membership(tenant.workspace_id, tenant.user(role), role))
    return tenant


async def make_installation_key(urls: DatabaseUrls, **options: Any) -> CreatedApiKey:
    """An API key that is good for every workspace, as the command line makes it."""
    async with owner_engine(urls).begin() as connection:
        await enter_as_owner(connection)
        return await create_api_key(
            connection, workspace_id=None, created_by="command line", name="all shops", **options
        )
