"""The contract: Strawberry types, queries, mutations, subscriptions and typed errors.  Translates; decides nothing."""

from collections.abc import AsyncIterator, Iterable
from typing import Any

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLError,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    Undefined,
)
from strawberry.extensions import SchemaExtension
from strawberry.types.execution import ExecutionContext
from strawberry.types.graphql import OperationType

import domain.errors
import domain.orders
import domain.robot_jobs
from schema import errors, orders
from schema.carriers import CarrierQueries
from schema.context import Context
from schema.dispatch import DispatchQueries
from schema.documents import CheckedDocuments
from schema.errors import Handler
from schema.faults import public_error
from schema.node_queries import NodeQueries
from schema.orders import OrderMutations, OrderQueries
from schema.robot_jobs import RobotJobMutations, RobotJobQueries, RobotJobSubscriptions
from schema.robot_jobs import errors as job_errors


@strawberry.type(description="Everything that can be read.  For every member of the workspace.")
class Query(RobotJobQueries, OrderQueries, DispatchQueries, CarrierQueries, NodeQueries):
    pass


@strawberry.type(
    description="Everything that can be done.  Expected failures are data: each answer is a union of its success and "
    "typed errors, and whatever is refused changes nothing."
)
class Mutation(RobotJobMutations, OrderMutations):
    pass


@strawberry.type(description="Everything that can be followed live, over WebSocket (graphql-transport-ws).")
class Subscription(RobotJobSubscriptions):
    pass


class OneSnapshot(SchemaExtension):
    """A query's answer is of one moment: counters agree with the items beside them.

    A mutation's fields run one after the other, and each must see what it has changed: they read each for itself.
    """

    async def on_execute(self) -> AsyncIterator[None]:
        context = self.execution_context.context
        if isinstance(context, Context) and self.execution_context.operation_type is OperationType.QUERY:
            async with context.one_snapshot():
                yield
        else:
            yield


class Contract(strawberry.Schema):
    """Strawberry's schema, with our rules for what clients see of errors and of what may be left out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for named in self._schema.type_map.values():
            match named:
                case GraphQLInputObjectType():
                    _drop_null_defaults(named.fields.values())
                case GraphQLObjectType():
                    for field in named.fields.values():
                        _drop_null_defaults(field.args.values())

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        context = execution_context.context if execution_context is not None else None
        suggests = not isinstance(context, Context) or context.limits.introspection
        errors[:] = [public_error(error, suggests=suggests) for error in errors]


def _drop_null_defaults(inputs: Iterable[GraphQLArgument | GraphQLInputField]) -> None:
    """`first: Int = null` says no more than `first: Int`, and code generators read it as something else."""
    for each in inputs:
        if each.default_value is None:
            each.default_value = Undefined


_HANDLERS = [
    Handler(domain.errors.InvalidInput, errors.InvalidInput),
    Handler(domain.orders.OrderNotFound, orders.OrderNotFound),
    Handler(domain.orders.OrderReferenceTaken, orders.OrderReferenceTaken),
    Handler(domain.robot_jobs.RobotJobNotFound, job_errors.RobotJobNotFound),
    Handler(domain.robot_jobs.RobotJobItemNotFound, job_errors.RobotJobItemNotFound),
    Handler(domain.robot_jobs.OrdersNotFound, job_errors.OrdersNotFound),
    Handler(domain.robot_jobs.OrdersNotShippable, job_errors.OrdersNotShippable),
    Handler(domain.robot_jobs.IdempotencyKeyInUse, job_errors.IdempotencyKeyInUse),
    Handler(domain.robot_jobs.InvalidTransition, job_errors.InvalidTransition),
    Handler(domain.robot_jobs.ItemsNotRetryable, job_errors.ItemsNotRetryable),
]

schema = Contract(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    exception_handlers=_HANDLERS,
    extensions=[OneSnapshot, CheckedDocuments],
)
