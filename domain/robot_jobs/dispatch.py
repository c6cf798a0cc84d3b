"""May these orders be sent to a carrier?  The same checks for a look beforehand, for a new job and for a retry."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_of
from domain.carrier_configs import (
    CarrierConfig,
    CarrierConfigDisabled,
    CarrierConfigNotFound,
    find_carrier_config,
)
from domain.carriers import Carrier, match_cities
from domain.city_matching import CityMatch, CityOutcome
from domain.dispatch_problems import DispatchProblem, OrderProblems, city_problems
from domain.errors import InputProblem, InvalidInput, invalid
from domain.orders import ORDERS_AT_MOST, Order, find_orders, orders
from domain.pedido_input import ShippingDefaults, own_problems, pedido_input
from domain.robot_jobs.blocks import IS_UNSETTLED, ShippedBefore, find_blocked_orders
from domain.robot_jobs.tables import robot_job_items


@dataclass(frozen=True, slots=True)
class OrderSelection:
    """Which orders: those named, or all that are ready for the carrier.  Exactly one of the two."""

    order_ids: Sequence[uuid.UUID] | None = None
    all_ready: bool = False

    def check(self, *, ship_again: bool) -> None:
        """Raises InvalidInput, also for orders to ship again that are not named."""
        if self.all_ready == (self.order_ids is not None):
            raise InvalidInput(
                InputProblem("orderIds", "name the orders, or ask for all that are ready with allReady: one of both.")
            )
        if self.order_ids is not None and not 1 <= len(self.order_ids) <= ORDERS_AT_MOST:
            raise invalid("orderIds", f"must name 1 to {ORDERS_AT_MOST:,} orders; it names {len(self.order_ids):,}.")
        if self.all_ready and ship_again:
            raise invalid("shipAgain", "needs the orders by their ids: what was shipped is not ready.")


@dataclass(frozen=True, slots=True)
class SelectedOrders:
    """Distinct ids in the order given, or oldest first; `has_more`: not all that are ready could be taken."""

    order_ids: list[uuid.UUID]
    has_more: bool = False


async def select_orders(
    connection: AsyncConnection,
    selection: OrderSelection,
    *,
    carrier: Carrier,
    config: CarrierConfig | None,
    among: Sequence[uuid.UUID] | None = None,
) -> SelectedOrders:
    """The ids that are meant, at most 10,000; one statement, or none when they are named.

    Ready for a carrier is an order in the stage of the workspace's carrier config (any stage, if that names none), not
    archived, without a tracking number, and in no open or unsettled item.  With `among` no others are looked at.
    Raises CarrierConfigNotFound when all that are ready are asked for and there is no config.
    """
    if selection.order_ids is not None:
        return SelectedOrders(list(dict.fromkeys(selection.order_ids)))
    if config is None:
        raise CarrierConfigNotFound(carrier)
    is_unsettled = sa.exists().where(robot_job_items.c.order_id == orders.c.id, IS_UNSETTLED)
    statement = (
        sa.select(orders.c.id)
        .where(orders.c.tracking_number.is_(None), orders.c.archived_at.is_(None), sa.not_(is_unsettled))
        .order_by(orders.c.id)
        .limit(ORDERS_AT_MOST + 1)
    )
    if config.dispatch_stage is not None:
        statement = statement.where(orders.c.stage == config.dispatch_stage)
    if among is not None:
        statement = statement.where(orders.c.id == sa.func.any(array_of(list(among), sa.Uuid())))
    ready = list((await connection.execute(statement)).scalars())
    return SelectedOrders(ready[:ORDERS_AT_MOST], has_more=len(ready) > ORDERS_AT_MOST)


async def find_enabled_config(connection: AsyncConnection, carrier: Carrier) -> CarrierConfig | None:
    """The workspace's config; without one the defaults hold.  Raises CarrierConfigDisabled."""
    config = await find_carrier_config(connection, carrier)
    if config is not None and not config.is_enabled:
        raise CarrierConfigDisabled(carrier)
    return config


@dataclass(frozen=True, slots=True)
class CheckedOrder:
    """An order, the carrier's city for it, and all that is wrong; a pedido input if it may go out."""

    order: Order
    carrier_city: str | None
    problems: tuple[DispatchProblem, ...]
    pedido_input: dict[str, Any] | None

    @property
    def outcome(self) -> CityOutcome:
        if self.pedido_input is None:
            return CityOutcome.REJECTED
        return CityOutcome.WARNING if self.problems else CityOutcome.OK

    def as_problems(self) -> OrderProblems:
        return OrderProblems(self.order.id, self.order.reference, self.problems)


async def check_orders(
    connection: AsyncConnection,
    carrier: Carrier,
    candidates: Sequence[Order],
    *,
    config: CarrierConfig | None,
    except_items: Collection[uuid.UUID] = (),
    shipped_before: Mapping[uuid.UUID, ShippedBefore] | None = None,
) -> list[CheckedOrder]:
    """Everything that is wrong with each order, in their order; two statements.

    The parameters are those of find_blocked_orders; so is how long the answer stays true.
    """
    blocked = await find_blocked_orders(
        connection, candidates, except_items=except_items, shipped_before=shipped_before
    )
    typed = [(order.city, order.department, order.is_cod) for order in candidates]
    defaults = config.shipping_defaults if config is not None else ShippingDefaults()
    return [
        _check(order, match, blocked.get(order.id), defaults)
        for order, match in zip(candidates, await match_cities(connection, carrier, typed), strict=True)
    ]


def _check(order: Order, match: CityMatch, block: DispatchProblem | None, defaults: ShippingDefaults) -> CheckedOrder:
    problems = (*city_problems(match), *own_problems(order), *([block] if block is not None else ()))
    typed = None
    is_good = all(problem.is_warning for problem in problems)
    if is_good and match.carrier_city is not None and match.department_abbrev is not None:
        typed = pedido_input(
            order, carrier_city=match.carrier_city, department_abbrev=match.department_abbrev, defaults=defaults
        )
    return CheckedOrder(order, match.carrier_city, problems, typed)


@dataclass(frozen=True, slots=True)
class DispatchPreview:
    """One answer per order in the order asked, the ids that are not this workspace's, and whether more are ready."""

    orders: list[CheckedOrder]
    missing_order_ids: list[uuid.UUID]
    has_more: bool

    def count(self, outcome: CityOutcome) -> int:
        return sum(checked.outcome is outcome for checked in self.orders)


async def preview_dispatch(
    connection: AsyncConnection, carrier: Carrier, selection: OrderSelection, *, ship_again: bool = False
) -> DispatchPreview:
    """What would become of up to 10,000 orders if they were sent now; changes nothing.

    Ids given twice count once.  A constant number of statements.  Raises InvalidInput, CarrierConfigDisabled,
    CarrierConfigNotFound.
    """
    selection.check(ship_again=ship_again)
    config = await find_enabled_config(connection, carrier)
    selected = await select_orders(connection, selection, carrier=carrier, config=config)
    found = await find_orders(connection, selected.order_ids)
    known = [found[order_id] for order_id in selected.order_ids if order_id in found]
    checked = await check_orders(
        connection, carrier, known, config=config, shipped_before=all_known(known) if ship_again else None
    )
    missing = [order_id for order_id in selected.order_ids if order_id not in found]
    return DispatchPreview(checked, missing, selected.has_more)


def all_known(candidates: Sequence[Order]) -> dict[uuid.UUID, ShippedBefore]:
    """To ship these again whatever has become of them by now."""
    return {order.id: ShippedBefore(order.tracking_number, None) for order in candidates}
