"""What one operation may ask: each limit's edge, what is counted, and that to count is quick."""

import time
from dataclasses import replace
from typing import Any, cast

import pytest
from graphql import GraphQLObjectType, get_introspection_query, get_named_type

from schema import schema
from schema.context import Context
from schema.limits import LENGTHS, Limits
from tests.schema.caller import Api, Caller

FRAGMENT = "fragment F on RobotJobItem { order { id } }"


def caller(api: Api, limits: Limits) -> Any:
    """Executes as nobody does: refusals of a document come before those of who asks."""

    async def execute(document: str, **variables: object) -> Any:
        context = Context(api.database, api.streams, limits=limits)
        return await schema.execute(document, variable_values=variables, context_value=context)

    return execute


def with_limit(name: str, value: int) -> Limits:
    given: dict[str, Any] = {name: value}
    return replace(Limits(), **given)


async def refusal(api: Api, document: str, limits: Limits | None = None, **variables: object) -> dict[str, Any] | None:
    """The extensions of the refusal for asking too much, or None."""
    result = await caller(api, limits or Limits())(document, **variables)
    for error in result.errors or ():
        if error.extensions["code"] == "QUERY_TOO_COMPLEX":
            return dict(error.extensions)
    return None


async def cost(api: Api, document: str, **variables: object) -> int:
    refused = await refusal(api, document, Limits(cost=-1), **variables)
    assert refused is not None
    return int(refused["found"])


# ---------------------------------------------------------------------------------------------- each limit's edge


def nested(levels: int) -> str:
    return "{ robotJobs { nodes " + "{ items { nodes { job " * levels + "{ id }" + " } } }" * levels + " } }"


@pytest.mark.parametrize(
    ("limit", "document"),
    [
        ("tokens", "{ a b c d }"),
        ("depth", "{ robotJobs { nodes { id } } }"),
        ("depth", "{ robotJobs { ...C } } fragment C on RobotJobConnection { ...D nodes { id } }"
                  " fragment D on RobotJobConnection { pageInfo { hasNextPage } }"),
        ("aliases", "{ a: __typename b: __typename c: __typename }"),
        ("aliases", "{ ...A ...B } fragment A on Query { a: __typename ...B } fragment B on Query { b: __typename }"),
        ("directives", "query @include(if: true) { __typename @skip(if: true) ... @include(if: true) { __typename } }"),
        ("cost", "{ order(id: \"x\") { id } activeRobotJob(carrier: COORDINADORA) { id } robotJob(id: \"x\") { id } }"),
    ],
)  # fmt: skip
async def test_each_limit_lets_through_what_is_just_right_and_refuses_one_more(
    api: Api, limit: str, document: str
) -> None:
    at = 6 if limit == "tokens" else 3
    if limit == "directives":
        document = document.replace("query @include(if: true) ", "query ($x: Boolean = true) ").replace(
            "{ __typename @skip(if: true)", "{ a: __typename @skip(if: $x) b: __typename @skip(if: $x)"
        )

    assert await refusal(api, document, with_limit(limit, at)) is None
    refused = await refusal(api, document, with_limit(limit, at - 1))

    assert refused is not None
    found = {} if limit == "tokens" else {"found": at}
    assert refused == {"code": "QUERY_TOO_COMPLEX", "limit": limit, "allowed": at - 1, **found}


async def test_refusal_says_what_was_found_and_what_is_allowed(operator: Caller) -> None:
    error = await operator.refused("{ robotJobs(first: 100) { nodes { items { nodes { order { id } } } } } }")

    assert error["message"] == (
        "The operation asks too much: its answer can hold 20,100 objects, and the limit is 5,000. "
        "Ask for smaller pages (first, last), or for less within each."
    )
    assert error["extensions"] == {"code": "QUERY_TOO_COMPLEX", "limit": "cost", "found": 20_100, "allowed": 5_000}


async def test_refused_operation_reads_nothing(api: Api) -> None:
    """Not even who asks: nobody gets the same answer as a member."""
    assert await api.nobody().code(nested(5)) == "QUERY_TOO_COMPLEX"


# ---------------------------------------------------------------------------------------------- what is counted


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("{ __typename }", 0),
        ('{ robotJob(id: "x") { id status } }', 1),
        ('{ robotJob(id: "x") { items(first: 1000) { nodes { order { id } } } } }', 2_001),
        ('{ robotJob(id: "x") { items { nodes { id } } } }', 101),
        ('{ robotJob(id: "x") { items(last: 7) { edges { cursor node { id } } } } }', 8),
        ('{ robotJob(id: "x") { items(first: 7) { edges { cursor } } } }', 8),
        ('{ robotJob(id: "x") { items(first: 7) { pageInfo { hasNextPage } } } }', 8),
        ('{ robotJob(id: "x") { items(first: 2000000000) { nodes { id } } } }', 1_001),
        ('{ robotJob(id: "x") { items(first: -5) { nodes { id } } } }', 1),
        ('{ robotJob(id: "x") { events(first: 30) { type } failures { messages } } }', 41),
        ("{ orders { nodes { id } } }", 20),
        ("{ orders(first: null) { nodes { id } } }", 20),
        ('{ nodes(ids: ["a", "b"]) { id } }', 2),
        ('{ nodes(ids: "a") { id } }', 1),
        ('{ node(id: "a") { ... on RobotJob { items(first: 9) { nodes { id } } } ... on Order { id } } }', 10),
        ('{ node(id: "a") { id ... on Node { ... on RobotJobItem { order { id } job { id } } } } }', 3),
        ('{ robotJob(id: "x") { id } ... @skip(if: true) { orders { nodes { id } } } }', 1),
        ('{ robotJob(id: "x") { id } ... @include(if: false) { orders { nodes { id } } } }', 1),
        ('{ robotJob(id: "x") { id } ... @include(if: true) { orders { nodes { id } } } }', 21),
        ("{ __schema { types { name } } }", 1_000),
        ('{ __type(name: "Order") { name } }', 100),
    ],
)
async def test_cost_is_the_number_of_objects_that_the_answer_can_hold(api: Api, document: str, expected: int) -> None:
    assert await cost(api, document) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"first": 3}, 3), ({"first": 4}, 4), ({"first": 4.0}, 4), ({"first": None}, 20), ({}, 50),
        ({"first": 5, "withJobs": False}, 5), ({"first": 5, "withJobs": True}, 25),
        ({"first": 5, "ids": ["a"] * 8}, 13),
        ({"first": "five"}, 1), ({"first": [1, 2]}, 2), ({"first": {"a": 1}}, 20),
    ],
)  # fmt: skip
async def test_variables_and_their_defaults_decide_the_cost_each_time(
    api: Api, given: dict[str, object], expected: int
) -> None:
    """One document, and so one measure of it; values that do not fit are refused later, as they always are."""
    document = """query ($first: Int = 50, $withJobs: Boolean = false, $ids: [ID!] = []) {
        orders(first: $first) { nodes { id } }
        robotJobs @include(if: $withJobs) { nodes { id } }
        nodes(ids: $ids) { id }
    }"""

    assert await cost(api, document, **given) == expected


async def test_fragments_count_where_they_are_spread(api: Api) -> None:
    document = '{ robotJob(id: "x") { items(first: 5) { nodes { ...F } } } order(id: "x") { id } }' + FRAGMENT

    assert await cost(api, document) == 1 + 5 * 2 + 1


async def test_operations_of_one_document_are_measured_each_for_itself(api: Api) -> None:
    document = "query Small { orders(first: 1) { nodes { id } } } query Large { orders(first: 100) { nodes { id } } }"
    context = Context(api.database, api.streams, limits=Limits(cost=50))

    small, large = [
        await schema.execute(document, context_value=context, operation_name=name) for name in ("Small", "Large")
    ]

    codes = [[(error.extensions or {})["code"] for error in result.errors or ()] for result in (small, large)]
    assert codes == [["UNAUTHENTICATED"], ["QUERY_TOO_COMPLEX"]]


async def test_every_declared_length_is_of_a_list_in_the_contract() -> None:
    for name, length in LENGTHS.items():
        parent, _, field_name = name.partition(".")
        field = cast(GraphQLObjectType, schema._schema.type_map[parent]).fields[field_name]

        assert "[" in str(field.type) or get_named_type(field.type).name.endswith("Connection")
        assert set(length.arguments) <= set(field.args)


async def test_what_the_form_asks_of_the_schema_is_let_through(operator: Caller) -> None:
    """GraphiQL, code generators and Relay's compiler ask this."""
    options: dict[str, Any]
    for options in ({}, {"specified_by_url": True, "schema_description": True, "input_value_deprecation": True}):
        assert "__schema" in await operator.ask(get_introspection_query(**options))


async def test_the_schema_is_not_asked_for_over_and_over(operator: Caller) -> None:
    document = "{" + " ".join(f"a{n}: __schema {{ types {{ name }} }}" for n in range(6)) + "}"

    assert await operator.code(document) == "QUERY_TOO_COMPLEX"


# ---------------------------------------------------------------------------------------------- quick


def spread_twice(fragments: int) -> str:
    parts = [f"fragment F{n} on RobotJobItem {{ ...F{n + 1} ...F{n + 1} }}" for n in range(fragments)]
    return (
        "{ nodes(ids: [1]) { ...F0 } } "
        + " ".join(parts)
        + f" fragment F{fragments} on RobotJobItem {{ job {{ id }} }}"
    )


def aliased_twice(fragments: int) -> str:
    inner = "{{ nodes {{ job {{ ...F{0} }} }} }}"
    parts = [
        f"fragment F{n} on RobotJob {{ a: items {inner.format(n + 1)} b: items {inner.format(n + 1)} }}"
        for n in range(fragments)
    ]
    return "{ nodes(ids: []) { ...F0 } } " + " ".join(parts) + f" fragment F{fragments} on RobotJob {{ id }}"


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(spread_twice(80), id="2^80 spreads"),
        pytest.param(aliased_twice(26), id="2^26 paths"),
        pytest.param("{" + " __typename" * 990 + "}", id="one field, again and again"),
        pytest.param("{ nodes(ids: []) { ...F } } fragment F on RobotJob { id ...F }", id="a fragment in itself"),
        pytest.param(
            "{ node(id: 1) { ...A } } fragment A on Node { id ...B } fragment B on Node { ...A }", id="a circle"
        ),
        pytest.param("{ a " * 300 + "}" * 300, id="deep"),
        pytest.param("{ orders { nodes " + "{ ... " * 400 + "{ id }" + "}" * 402, id="deep in fragments"),
    ],
)
async def test_document_made_to_hang_the_server_is_refused_at_once(api: Api, document: str) -> None:
    started = time.perf_counter()

    result = await api.nobody().execute(document)

    assert time.perf_counter() - started < 2
    assert result.errors is not None
    code = (result.errors[0].extensions or {})["code"]
    assert code in ("QUERY_TOO_COMPLEX", "GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED")


# ---------------------------------------------------------------------------------------------- production


SHUT = Limits(introspection=False)


@pytest.mark.parametrize(
    "document",
    [
        "{ __schema { queryType { name } } }",
        '{ __type(name: "Order") { name } }',
        "{ ... on Query { ...S } } fragment S on Query { __schema { queryType { name } } }",
        "{ __schema @skip(if: true) { queryType { name } } }",
    ],
)
async def test_schema_is_not_told_where_introspection_is_off(api: Api, document: str) -> None:
    told = await caller(api, Limits())(document)
    refused = await caller(api, SHUT)(document)

    assert told.errors is None
    assert refused.data is None
    (error,) = refused.errors
    assert (error.message, error.extensions) == (
        "Introspection is switched off here.", {"code": "GRAPHQL_VALIDATION_FAILED"}
    )  # fmt: skip


async def test_typename_is_told_always(api: Api) -> None:
    assert (await caller(api, SHUT)("{ __typename }")).data == {"__typename": "Query"}


@pytest.mark.parametrize(
    ("document", "variables"),
    [
        ("{ ordes { nodes { id } } }", {}),
        ("{ orders { nodes { idd } } }", {}),
        ("{ orders(frst: 1) { nodes { id } } }", {}),
        ("{ activeRobotJob(carrier: COORDINADORRA) { id } }", {}),
        ("query ($c: Carier!) { activeRobotJob(carrier: $c) { id } }", {}),
        ("query ($c: Carrier!) { activeRobotJob(carrier: $c) { id } }", {"c": "COORDINADORRA"}),
        ("query ($f: OrderFilter) { orders(filter: $f) { nodes { id } } }", {"f": {"serch": "x"}}),
        ("{ orders(filter: {serch: 1}) { nodes { id } } }", {}),
    ],
)
async def test_names_are_not_suggested_where_introspection_is_off(
    api: Api, document: str, variables: dict[str, object]
) -> None:
    open_to = await caller(api, Limits())(document, **variables)
    shut_to = await caller(api, SHUT)(document, **variables)

    assert "Did you mean" in open_to.errors[0].message
    assert "Did you mean" not in shut_to.errors[0].message
    assert open_to.errors[0].message.startswith(shut_to.errors[0].message.removesuffix(" Found: an object."))


# ---------------------------------------------------------------------------------------------- which operation


async def test_one_of_several_operations_must_be_named(api: Api) -> None:
    result = await api.nobody().execute("query A { a: __typename } query B { b: __typename }")

    assert result.data is None
    assert [error.extensions["code"] for error in result.errors] == ["BAD_REQUEST"]
