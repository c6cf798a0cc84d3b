"""An id of another workspace is answered byte for byte as one that does not exist, by the same statements.

How long both take is measured by `make bench`.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    build_schema,
    get_named_type,
)

from domain.base import new_id
from schema import schema
from tests.domain.ledger import counted_statements
from tests.schema.caller import Api
from tests.schema.foreign_ids import ID_OPERATIONS, IdOperation
from tests.tenants import Tenant


async def _ids_of(tenant: Tenant) -> dict[str, str]:
    """One of each kind."""
    [item] = (await tenant.job(items=1)).items
    key_id = (await tenant.key()).api_key.id
    return {"job": str(item.job_id), "item": str(item.id), "order": str(item.order_id), "key": str(key_id)}


async def _answer(api: Api, tenant: Tenant, operation: IdOperation, asked: str, own: str) -> tuple[str, list[str]]:
    """What is answered, with the id blanked, and the statements that it took."""
    caller = api.member(tenant, operation.role)
    variables = operation.variables(asked, own)
    with counted_statements(api.engine) as sent:
        if operation.is_subscription:
            async with caller.follow(operation.document, **variables) as stream:
                told: list[Any] = [await stream.error_and_end()]
        else:
            result = await caller.execute(operation.document, **variables)
            told = [result.data, [error.formatted for error in result.errors or ()]]
    return json.dumps(told).replace(asked, "<the id>"), list(sent)


@pytest.mark.parametrize("path", ID_OPERATIONS)
async def test_a_foreign_id_is_answered_as_a_missing_one(
    api: Api, tenant: Tenant, other_tenant: Tenant, path: str
) -> None:
    operation = ID_OPERATIONS[path]
    own = str((await tenant.job(items=1, failed=1)).job.id)
    foreign = (await _ids_of(other_tenant))[operation.kind]
    before = await other_tenant.contents()
    await _answer(api, tenant, operation, str(new_id()), own)  # what is read once and kept is in memory from now on

    missing = await _answer(api, tenant, operation, str(new_id()), own)

    assert await _answer(api, tenant, operation, foreign, own) == missing
    assert await other_tenant.contents() == before


def test_every_argument_that_is_an_id_is_tried() -> None:
    contract = build_schema(schema.as_str())
    roots = (contract.query_type, contract.mutation_type, contract.subscription_type)

    assert {path for root in roots if root is not None for path in _id_paths(root)} == set(ID_OPERATIONS)


def _id_paths(root: GraphQLObjectType) -> Iterator[str]:
    for name, field in root.fields.items():
        for argument_name, argument in field.args.items():
            yield from _ids_within(f"{name}.{argument_name}", argument)


def _ids_within(path: str, given: GraphQLArgument | GraphQLInputField) -> Iterator[str]:
    named = get_named_type(given.type)
    if named.name == "ID":
        yield path
    if isinstance(named, GraphQLInputObjectType):
        for name, field in named.fields.items():
            yield from _ids_within(f"{path}.{name}", field)
