"""The contract: Strawberry types, queries, mutations, subscriptions and typed errors.  Translates; decides nothing."""

import json
from collections.abc import AsyncIterator, Iterable
from inspect import isawaitable
from typing import Any

import strawberry
from graphql import (
    ExecutionResult,
    Executor,
    GraphQLArgument,
    GraphQLError,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    Undefined,
    create_source_event_stream,
)
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types.execution import ExecutionContext
from strawberry.types.graphql import OperationType

import domain.accounts
import domain.api_keys
import domain.carrier_configs
import domain.credentials
import domain.errors
import domain.orders
import domain.robot_jobs
from schema import accounts, api_keys, carrier_configs, errors, orders
from schema.accounts import AccountMutations
from schema.api_keys import ApiKeyMutations, ApiKeyQueries
from schema.carrier_configs import CarrierConfigMutations, CarrierConfigQueries
from schema.carriers import CarrierQueries
from schema.context import Context
from schema.deliveries import Audiences, Delivery, OperationRefused, Outlet
from schema.dispatch import DispatchQueries
from schema.documents import CheckedDocuments, Document
from schema.errors import Handler
from schema.faults import public_error
from schema.limits import LONGEST_FOLLOWED, over_limit
from schema.node_queries import NodeQueries
from schema.orders import OrderMutations, OrderQueries
from schema.robot_jobs import (
    BoardSubscriptions,
    LeaseMutations,
    RobotJobMutations,
    RobotJobQueries,
    RobotJobSubscriptions,
)
from schema.robot_jobs import errors as job_errors
from schema.scalars import SCALARS
from schema.viewer import ViewerQueries


@strawberry.type(description="Everything that can be read.  Each field says for whom it is.")
class Query(
    RobotJobQueries,
    OrderQueries,
    DispatchQueries,
    CarrierQueries,
    CarrierConfigQueries,
    NodeQueries,
    ViewerQueries,
    ApiKeyQueries,
):
    pass


@strawberry.type(
    description="Everything that can be done.  Expected failures are data: each answer is a union of its success and "
    "typed errors, and whatever is refused changes nothing."
)
class Mutation(
    RobotJobMutations, LeaseMutations, OrderMutations, CarrierConfigMutations, AccountMutations, ApiKeyMutations
):
    pass


@strawberry.type(
    description="Everything that can be followed live, over WebSocket (graphql-transport-ws), Server-Sent Events "
    "(graphql-sse) or multipart (subscriptionSpec=1.0)."
)
class Subscription(RobotJobSubscriptions, BoardSubscriptions):
    pass


class OneSnapshot(SchemaExtension):
    """A query's answer is of one moment: counters agree with the items beside them.

    A mutation's fields run one after the other, and each must see what it has changed: they read each for itself.
    """

    async def on_execute(self) -> AsyncIterator[None]:
        context = self.execution_context.context
        if isinstance(context, Context):
            context.answer_in(None)
        if isinstance(context, Context) and self.execution_context.operation_type is OperationType.QUERY:
            async with context.one_snapshot():
                yield
        else:
            yield


class Contract(strawberry.Schema):
    """Strawberry's schema, with our rules for what clients see of errors and of what may be left out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._audiences = Audiences(self._schema)
        for named in self._schema.type_map.values():
            match named:
                case GraphQLInputObjectType():
                    _drop_null_defaults(named.fields.values())
                case GraphQLObjectType():
                    for field in named.fields.values():
                        _drop_null_defaults(field.args.values())

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        context = execution_context.context if execution_context is not None else None
        errors[:] = _public(errors, context)

    async def deliver(
        self, document: Document, name: str | None, variables: dict[str, Any] | None, context: Context, outlet: Outlet
    ) -> None:
        """Run a subscription until all is told to that outlet.  Raises OperationRefused, ClientGone."""
        variables = variables or {}
        if (found := len(document.text) + len(json.dumps(variables))) > LONGEST_FOLLOWED:
            message = f"What is followed is kept, so a subscription has {LONGEST_FOLLOWED:,} characters at most."
            raise OperationRefused([over_limit("characters", message, found=found, allowed=LONGEST_FOLLOWED)])
        if problems := document.problems(self._schema, name, variables, context.limits):
            raise OperationRefused(_public(problems, context))
        own = context.fresh()
        own.deliverer = delivery = Delivery(self._audiences, document, name, variables, outlet)
        executor = Executor.build(
            self._schema,
            document.node,
            context_value=own,
            raw_variable_values=variables,
            operation_name=name,
        )
        if isinstance(executor, list):
            raise OperationRefused(_public(executor, context))
        source: Any = create_source_event_stream(executor)
        if isawaitable(source):
            source = await source
        if isinstance(source, ExecutionResult):
            raise OperationRefused(_public(source.errors or [], context))
        await delivery.run(source)


def _public(errors: Iterable[GraphQLError], context: object) -> list[GraphQLError]:
    suggests = not isinstance(context, Context) or context.limits.introspection
    return [public_error(error, suggests=suggests) for error in errors]


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
    Handler(domain.robot_jobs.OrdersRefused, job_errors.OrdersRefused),
    Handler(domain.carrier_configs.CarrierConfigDisabled, carrier_configs.CarrierConfigDisabled),
    Handler(domain.robot_jobs.IdempotencyKeyInUse, job_errors.IdempotencyKeyInUse),
    Handler(domain.robot_jobs.InvalidTransition, job_errors.InvalidTransition),
    Handler(domain.robot_jobs.ItemsNotRetryable, job_errors.ItemsNotRetryable),
    Handler(domain.carrier_configs.CarrierConfigNotFound, carrier_configs.CarrierConfigNotFound),
    Handler(domain.carrier_configs.CredentialKeysMissing, carrier_configs.CredentialKeysMissing),
    Handler(domain.credentials.CredentialsUnreadable, carrier_configs.CredentialsUnreadable),
    Handler(domain.robot_jobs.LeaseLost, job_errors.LeaseLost),
    Handler(domain.robot_jobs.OrderShippedMeanwhile, job_errors.OrderShippedMeanwhile),
    Handler(domain.robot_jobs.NumberAlreadyReserved, job_errors.NumberAlreadyReserved),
    Handler(domain.accounts.AccountNotPaused, accounts.AccountNotPaused),
    Handler(domain.robot_jobs.OutcomeNotOpen, job_errors.OutcomeNotOpen),
    Handler(domain.api_keys.ApiKeyNotFound, api_keys.ApiKeyNotFound),
    Handler(domain.api_keys.TooManyApiKeys, api_keys.TooManyApiKeys),
]

schema = Contract(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    config=StrawberryConfig(scalar_map=SCALARS),
    exception_handlers=_HANDLERS,
    extensions=[OneSnapshot, CheckedDocuments],
)
