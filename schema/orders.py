"""Orders in the contract: the type, its queries, and the mutations that bring orders in and change them."""

import datetime as dt
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Self

import strawberry

import domain.order_import
import domain.orders
from domain.carriers import Carrier
from domain.filters import Period, SearchText
from domain.order_import import ImportOutcome, LineProblem
from domain.orders import NEWEST_ORDERS, ORDER_ORDERINGS, OrderSort, split_tags
from domain.pages import Direction, Ordering, PageRequest
from domain.robot_jobs import NEWEST_ITEMS
from domain.text import camel_case
from schema.access import OPERATORS, mutation, query, reading, transaction
from schema.context import Info
from schema.errors import Error, ErrorCode, InvalidInput
from schema.ids import parse_id
from schema.loaders import ItemsOfOrder
from schema.nodes import Id, Node
from schema.pages import After, Before, Connection, First, Last, wants_total

if TYPE_CHECKING:
    from schema.robot_jobs.types import RobotJobItem


@strawberry.type(description="A shop's order: what shipping needs of it, and what came back from the carrier.")
class Order(Node):
    reference: str = strawberry.field(description="The shop's own order number, unique in the workspace.")
    recipient_name: str = strawberry.field(description="Who receives it.")
    recipient_phone: str = strawberry.field(description="As typed.")
    recipient_email: str = strawberry.field(description="As typed; may be empty.")
    recipient_document: str = strawberry.field(description="Their identity document, as typed; may be empty.")
    address: str = strawberry.field(description="As typed.")
    city: str = strawberry.field(description="As typed; see `validateCities` for the carrier's own text.")
    department: str = strawberry.field(description="As typed.")
    products: str = strawberry.field(description="What is in it, such as `2x Shirt; 1x Cap`.")
    units: int = strawberry.field(description="How many pieces.")
    total_cop: Decimal = strawberry.field(description="What the customer pays, in Colombian pesos.")
    declared_value_cop: Decimal = strawberry.field(description="The value declared to the carrier, in pesos.")
    tags: list[str] = strawberry.field(description="The shop's tags; `P/A` is paid in advance.")
    is_cod: bool = strawberry.field(description="Cash on delivery: the carrier collects `totalCop`.")
    stage: str | None = strawberry.field(description="Where the shop's own process has it.")
    carrier: Carrier | None = strawberry.field(description="Who shipped it.")
    tracking_number: str | None = strawberry.field(description="The carrier's pedido number.")
    carrier_guide_number: str | None = strawberry.field(description="The carrier's later guía number.")
    archived_at: dt.datetime | None = strawberry.field(description="When it was put away.")
    created_at: dt.datetime = strawberry.field(description="When it came in.")
    updated_at: dt.datetime = strawberry.field(description="When any field last changed.")

    @strawberry.field(
        description="What became of it: its items in all jobs, newest first; at most 100 a page.",
    )
    async def robot_job_items(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Annotated["RobotJobItem", strawberry.lazy("schema.robot_jobs.types")]]:
        from schema.robot_jobs.types import RobotJobItem  # noqa: PLC0415 -- an item shows its order

        page = PageRequest.of(
            NEWEST_ITEMS, first=first, after=after, last=last, before=before, with_total=wants_total(info)
        )
        found = await info.context.loaders.items_of_orders.load(ItemsOfOrder(uuid.UUID(self.id), page))
        return Connection[RobotJobItem].of(found, node=RobotJobItem.from_domain)

    @classmethod
    def from_domain(cls, order: domain.orders.Order) -> Self:
        return cls(
            id=strawberry.ID(str(order.id)),
            reference=order.reference,
            recipient_name=order.recipient_name,
            recipient_phone=order.recipient_phone,
            recipient_email=order.recipient_email,
            recipient_document=order.recipient_document,
            address=order.address,
            city=order.city,
            department=order.department,
            products=order.products,
            units=order.units,
            total_cop=order.total_cop.normalize() + 0,
            declared_value_cop=order.declared_value_cop.normalize() + 0,
            tags=split_tags(order.tags),
            is_cod=order.is_cod,
            stage=order.stage,
            carrier=order.carrier,
            tracking_number=order.tracking_number,
            carrier_guide_number=order.carrier_guide_number,
            archived_at=order.archived_at,
            created_at=order.created_at,
            updated_at=order.updated_at,
        )


@strawberry.type(description="There is no such order in this workspace.")
class OrderNotFound(Error):
    @classmethod
    def from_domain(cls, error: domain.orders.OrderNotFound) -> Self:
        return cls(code=ErrorCode.ORDER_NOT_FOUND, message=error.message)


@strawberry.type(description="Another order of the workspace has that reference.")
class OrderReferenceTaken(Error):
    @classmethod
    def from_domain(cls, error: domain.orders.OrderReferenceTaken) -> Self:
        return cls(code=ErrorCode.ORDER_REFERENCE_TAKEN, message=error.message)


@strawberry.input(description="Which orders; all that is given must hold.")
class OrderFilter:
    references: list[str] | None = strawberry.field(default=None, description="Only orders with these references.")
    is_shipped: bool | None = strawberry.field(default=None, description="With a tracking number, or without.")
    is_archived: bool | None = strawberry.field(default=None, description="Archived, or not.")
    carrier: Carrier | None = strawberry.field(default=None, description="Shipped by this carrier.")
    stage: list[str] | None = strawberry.field(default=None, description="In any of these stages of the shop's own.")
    created_after: dt.datetime | None = strawberry.field(default=None, description="Came in then or later.")
    created_before: dt.datetime | None = strawberry.field(default=None, description="Came in before then.")
    search: str | None = strawberry.field(
        default=None,
        description="2 to 100 characters that stand in the reference, the recipient's name, the tracking number or "
        "the guide number.  Capitals and accents make no difference.",
    )

    def to_domain(self) -> domain.orders.OrderFilter:
        return domain.orders.OrderFilter(
            references=tuple(self.references) if self.references is not None else None,
            is_shipped=self.is_shipped,
            is_archived=self.is_archived,
            carrier=self.carrier,
            stages=tuple(self.stage) if self.stage is not None else None,
            created=Period.of(
                ("filter.createdAfter", self.created_after), ("filter.createdBefore", self.created_before)
            ),
            search=SearchText.of("filter.search", self.search),
        )


@strawberry.input(description="How orders are sorted; among equals by their ids.")
class OrderOrder:
    field: OrderSort = strawberry.field(description="By what.")
    direction: Direction = strawberry.field(default=Direction.ASC, description="Which way.")

    def to_domain(self) -> Ordering:
        return ORDER_ORDERINGS[self.field, self.direction]


@strawberry.type
class OrderQueries:
    @query("An order, or null when there is none with that id in this workspace.")
    async def order(self, info: Info, id: Id) -> Order | None:  # noqa: A002 -- the contract's name
        found = await info.context.loaders.orders.load(parse_id("id", id))
        return Order.from_domain(found) if found is not None else None

    @query("The workspace's orders, newest first unless ordered otherwise; at most 100 a page.")
    async def orders(
        self,
        info: Info,
        filter: Annotated[  # noqa: A002 -- the contract's name
            OrderFilter | None, strawberry.argument(description="Which orders.")
        ] = None,
        order_by: Annotated[OrderOrder | None, strawberry.argument(description="How they are sorted.")] = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Order]:
        page = PageRequest.of(
            order_by.to_domain() if order_by is not None else NEWEST_ORDERS,
            first=first,
            after=after,
            last=last,
            before=before,
            with_total=wants_total(info),
        )
        order_filter = filter.to_domain() if filter is not None else None
        async with reading(info) as work:
            found = await domain.orders.list_orders(work.connection, page=page, order_filter=order_filter)
        return Connection[Order].of(found, node=Order.from_domain)


@strawberry.input(description="Orders to bring in.")
class ImportOrdersInput:
    csv: str = strawberry.field(
        description="A CSV file: UTF-8, commas, a header row with order_id, contact_name, contact_phone, "
        "shipping_address, shipping_city, shipping_department, products, units, total_value and optionally "
        "contact_email, contact_document, declared_value, tags, is_cod; other columns are ignored.  "
        "Blank lines are skipped, but counted.  At most 10,000 orders, and no more than a request's body may hold."
    )


@strawberry.type(description="A line that went in.")
class ImportedLine:
    line: int = strawberry.field(description="Its number in the file; the header is line 1.")
    outcome: ImportOutcome = strawberry.field(description="What became of it.")
    order: Order = strawberry.field(description="The order as it is now.")


@strawberry.type(description="A line that could not be used; the other lines went in.")
class RefusedLine:
    line: int = strawberry.field(description="Its number in the file; the header is line 1.")
    reference: str | None = strawberry.field(description="Its order_id, where that could be read.")
    problem: LineProblem = strawberry.field(description="Why.")
    column: str | None = strawberry.field(description="The column that holds the trouble, if it is one.")
    message: str = strawberry.field(description="Why, for people, with the line's number.")


@strawberry.type(description="What became of each line.")
class ImportOrdersSuccess:
    created_count: int = strawberry.field(description="New orders.")
    updated_count: int = strawberry.field(description="Orders that were brought up to date.")
    unchanged_count: int = strawberry.field(description="Orders that were there already, just so.")
    imported: list[ImportedLine] = strawberry.field(description="The lines that went in, in the file's order.")
    refused: list[RefusedLine] = strawberry.field(description="The lines that did not, in the file's order.")

    @classmethod
    def from_domain(cls, result: domain.order_import.ImportedOrders) -> Self:
        return cls(
            created_count=result.count(ImportOutcome.CREATED),
            updated_count=result.count(ImportOutcome.UPDATED),
            unchanged_count=result.count(ImportOutcome.UNCHANGED),
            imported=[
                ImportedLine(line=line.line, outcome=line.outcome, order=Order.from_domain(line.order))
                for line in result.imported
            ],
            refused=[
                RefusedLine(
                    line=line.line,
                    reference=line.reference,
                    problem=line.problem,
                    column=line.column,
                    message=line.message,
                )
                for line in result.refused
            ],
        )


@strawberry.input(description="An order and the fields to change; what is left out stays as it is.")
class UpdateOrderInput:
    order_id: strawberry.ID = strawberry.field(description="The order.")
    reference: str | None = strawberry.field(default=strawberry.UNSET, description="The shop's own order number.")
    recipient_name: str | None = strawberry.field(default=strawberry.UNSET, description="Who receives it.")
    recipient_phone: str | None = strawberry.field(default=strawberry.UNSET, description="Their phone number.")
    recipient_email: str | None = strawberry.field(default=strawberry.UNSET, description="Their e-mail address.")
    recipient_document: str | None = strawberry.field(
        default=strawberry.UNSET, description="Their identity document; empty types the phone number instead."
    )
    address: str | None = strawberry.field(default=strawberry.UNSET, description="Street and number.")
    city: str | None = strawberry.field(default=strawberry.UNSET, description="The city.")
    department: str | None = strawberry.field(default=strawberry.UNSET, description="The department.")
    products: str | None = strawberry.field(default=strawberry.UNSET, description="What is in it.")
    units: int | None = strawberry.field(default=strawberry.UNSET, description="How many pieces, 1 to 10,000.")
    total_cop: Decimal | None = strawberry.field(default=strawberry.UNSET, description="The total in pesos.")
    declared_value_cop: Decimal | None = strawberry.field(
        default=strawberry.UNSET, description="The declared value in pesos."
    )
    tags: list[str] | None = strawberry.field(
        default=strawberry.UNSET, description="The shop's tags, all of them; a tag holds no semicolon."
    )
    is_cod: bool | None = strawberry.field(default=strawberry.UNSET, description="Cash on delivery.")
    stage: str | None = strawberry.field(default=strawberry.UNSET, description="The shop's own stage; null clears it.")
    carrier: Carrier | None = strawberry.field(default=strawberry.UNSET, description="Who shipped it.")
    tracking_number: str | None = strawberry.field(
        default=strawberry.UNSET, description="The carrier's pedido number; null clears it."
    )
    carrier_guide_number: str | None = strawberry.field(
        default=strawberry.UNSET, description="The carrier's guía number; null clears it."
    )
    is_archived: bool | None = strawberry.field(default=strawberry.UNSET, description="Put it away, or bring it back.")

    def changes(self) -> dict[str, object]:
        given = {
            name: value
            for name, value in vars(self).items()
            if name not in ("order_id", "is_archived") and value is not strawberry.UNSET
        }
        if self.is_archived is not strawberry.UNSET and self.is_archived is not None:
            given["archived_at"] = dt.datetime.now(dt.UTC) if self.is_archived else None
        return given


@strawberry.type(description="The order as it is now.")
class UpdateOrderSuccess:
    order: Order = strawberry.field(description="The order.")
    changed_fields: list[str] = strawberry.field(
        description="The fields that really changed; each has its `order/field.changed` event."
    )


ImportOrdersResult = Annotated[
    ImportOrdersSuccess | InvalidInput, strawberry.union("ImportOrdersResult", description="Of importOrders.")
]
UpdateOrderResult = Annotated[
    UpdateOrderSuccess | OrderNotFound | OrderReferenceTaken | InvalidInput,
    strawberry.union("UpdateOrderResult", description="Of updateOrder."),
]


@strawberry.type
class OrderMutations:
    @mutation(
        "Bring in the orders of a CSV file.  A line that cannot be used is refused with its number; the others go "
        "in.  The same file again changes nothing.",
        roles=OPERATORS,
    )
    async def import_orders(
        self,
        info: Info,
        input: Annotated[ImportOrdersInput, strawberry.argument(description="The file.")],  # noqa: A002
    ) -> ImportOrdersResult:
        async with transaction(info) as work:
            imported = await domain.order_import.import_orders(
                work.connection, workspace_id=work.membership.workspace_id, csv_text=input.csv
            )
        return ImportOrdersSuccess.from_domain(imported)

    @mutation(
        "Change fields of an order; each that really changes is recorded as an event.",
        roles=OPERATORS,
    )
    async def update_order(
        self,
        info: Info,
        input: Annotated[UpdateOrderInput, strawberry.argument(description="The order and its changes.")],  # noqa: A002
    ) -> UpdateOrderResult:
        async with transaction(info) as work:
            updated = await domain.orders.update_order(
                work.connection, parse_id("orderId", input.order_id), input.changes()
            )
        return UpdateOrderSuccess(
            order=Order.from_domain(updated.order), changed_fields=[camel_case(name) for name in updated.changed_fields]
        )
