"""Orders: the little of a shop's order that shipping needs, and what comes back."""

from domain.orders.changes import (
    CHANGEABLE_FIELDS,
    OrderNotFound,
    OrderReferenceTaken,
    UpdatedOrder,
    update_order,
    write_order_changes,
)
from domain.orders.fields import join_tags, order_field_problem, split_tags
from domain.orders.queries import (
    NEWEST_ORDERS,
    ORDER_ORDERINGS,
    OrderFilter,
    OrderSort,
    find_orders,
    list_orders,
    lock_orders,
)
from domain.orders.tables import ORDER_COLUMNS, ORDERS_AT_MOST, REFERENCE_AT_MOST, Order, orders

__all__ = [
    "CHANGEABLE_FIELDS",
    "NEWEST_ORDERS",
    "ORDERS_AT_MOST",
    "ORDER_COLUMNS",
    "ORDER_ORDERINGS",
    "REFERENCE_AT_MOST",
    "Order",
    "OrderFilter",
    "OrderNotFound",
    "OrderReferenceTaken",
    "OrderSort",
    "UpdatedOrder",
    "find_orders",
    "join_tags",
    "list_orders",
    "lock_orders",
    "order_field_problem",
    "orders",
    "split_tags",
    "update_order",
    "write_order_changes",
]
