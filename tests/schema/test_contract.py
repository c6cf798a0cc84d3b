"""The contract's form: the committed SDL, descriptions, errors as data, Relay's shapes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLUnionType,
    build_schema,
    get_named_type,
    is_introspection_type,
)

import domain.accounts
import domain.api_keys
import domain.carrier_configs
import domain.order_import
import domain.orders
import domain.robot_jobs
import schema as contract
from domain.errors import DomainError
from domain.order_import import CSV_COLUMNS
from schema.errors import ErrorCode

ROOMS = (
    domain.accounts,
    domain.api_keys,
    domain.carrier_configs,
    domain.order_import,
    domain.orders,
    domain.robot_jobs,
)
SDL = contract.schema.as_str()
TYPES = {name: named for name, named in build_schema(SDL).type_map.items() if not is_introspection_type(named)}


def objects() -> list[GraphQLObjectType]:
    return [named for named in TYPES.values() if isinstance(named, GraphQLObjectType)]


def of_type(name: str) -> Any:
    return TYPES[name]


def described(named: GraphQLNamedType) -> Iterator[tuple[str, str | None]]:
    """Everything of a type that a reader of the SDL meets, with its description."""
    yield named.name, named.description
    match named:
        case GraphQLObjectType() | GraphQLInterfaceType():
            for name, field in named.fields.items():
                yield f"{named.name}.{name}", field.description
                for argument, given in field.args.items():
                    yield f"{named.name}.{name}({argument}:)", given.description
        case GraphQLInputObjectType():
            for name, given in named.fields.items():
                yield f"{named.name}.{name}", given.description
        case GraphQLEnumType():
            for name, value in named.values.items():
                yield f"{named.name}.{name}", value.description


def all_errors(base: type[DomainError] = DomainError) -> Iterator[type[DomainError]]:
    for error in base.__subclasses__():
        yield error
        yield from all_errors(error)


def test_the_committed_sdl_is_the_contract() -> None:
    committed = Path(contract.__file__).with_name("schema.graphql").read_text(encoding="utf-8")

    assert committed.strip() == SDL.strip(), "write it anew: robot-jobs schema > schema/schema.graphql"


def test_everything_is_described() -> None:
    bare = [
        what for named in TYPES.values() for what, description in described(named) if not (description or "").strip()
    ]

    assert bare == []


@pytest.mark.parametrize(("name", "example"), [("DateTime", "+00:00"), ("Decimal", '"52900.5"')])
def test_a_scalar_says_how_it_is_written(name: str, example: str) -> None:
    assert example in of_type(name).description


def test_optional_inputs_have_no_null_default() -> None:
    assert "= null" not in SDL


@pytest.mark.parametrize("name", of_type("Mutation").fields)
def test_a_mutation_takes_one_input_and_answers_with_a_union_of_success_and_errors(name: str) -> None:
    mutation = of_type("Mutation").fields[name]

    title = name[0].upper() + name[1:]
    assert {argument: str(given.type) for argument, given in mutation.args.items()} == {"input": f"{title}Input!"}
    assert str(mutation.type) == f"{title}Result!"
    union = get_named_type(mutation.type)
    assert isinstance(union, GraphQLUnionType)
    success, *errors = union.types
    assert success.name == f"{title}Success"
    assert of_type("Error") not in success.interfaces
    assert errors
    assert all(of_type("Error") in error.interfaces for error in errors)
    assert of_type("InvalidInput") in errors


@pytest.mark.parametrize("name", of_type("Mutation").fields)
def test_what_a_domain_function_says_it_raises_is_in_its_mutations_union(name: str) -> None:
    function_name = re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
    [function] = {getattr(room, function_name) for room in ROOMS if hasattr(room, function_name)}
    raised = set(re.findall("[A-Z][a-z]+[A-Z][A-Za-z]+", function.__doc__.rpartition("Raises")[2]))

    assert raised
    assert raised <= {member.name for member in of_type(f"{name[0].upper()}{name[1:]}Result").types}


def test_an_import_names_every_column_that_it_reads() -> None:
    described = of_type("ImportOrdersInput").fields["csv"].description

    assert [column for column in CSV_COLUMNS if column not in described] == []


def test_every_error_type_is_a_member_of_a_union() -> None:
    errors = {named.name for named in objects() if of_type("Error") in named.interfaces}

    members = {member.name for named in TYPES.values() if isinstance(named, GraphQLUnionType) for member in named.types}
    assert errors <= members


def test_every_code_of_the_domain_is_in_the_contract() -> None:
    codes = {error.code for error in all_errors()}

    assert codes <= {code.value for code in ErrorCode}


def test_an_error_code_is_spelled_as_its_name() -> None:
    assert {code.name: code.value for code in ErrorCode} == {name: name for name in of_type("ErrorCode").values}


def test_node_is_relays() -> None:
    node = of_type("Node")

    assert {name: str(field.type) for name, field in node.fields.items()} == {"id": "ID!"}
    assert str(of_type("Query").fields["node"].type) == "Node"
    assert {name: str(given.type) for name, given in of_type("Query").fields["node"].args.items()} == {"id": "ID!"}
    assert str(of_type("Query").fields["nodes"].type) == "[Node]!"
    implementing = {named.name for named in objects() if node in named.interfaces}
    assert implementing == {"RobotJob", "RobotJobItem", "Order"}


def test_page_info_is_relays() -> None:
    assert {name: str(field.type) for name, field in of_type("PageInfo").fields.items()} == {
        "hasNextPage": "Boolean!",
        "hasPreviousPage": "Boolean!",
        "startCursor": "String",
        "endCursor": "String",
    }


@pytest.mark.parametrize("of", ["RobotJob", "RobotJobItem", "Order", "CarrierCity", "Municipality", "ApiKey"])
def test_a_connection_is_relays(of: str) -> None:
    connection, edge = of_type(f"{of}Connection").fields, of_type(f"{of}Edge").fields

    assert str(connection["edges"].type) == f"[{of}Edge!]!"
    assert str(connection["nodes"].type) == f"[{of}!]!"
    assert str(connection["pageInfo"].type) == "PageInfo!"
    assert str(connection["totalCount"].type) == "Int!"
    assert {name: str(field.type) for name, field in edge.items()} == {"cursor": "String!", "node": f"{of}!"}


def test_every_field_with_a_connection_takes_relays_arguments() -> None:
    paged = {
        f"{named.name}.{name}": field
        for named in objects()
        for name, field in named.fields.items()
        if get_named_type(field.type).name.endswith("Connection")
    }

    assert set(paged) == {
        "Query.robotJobs",
        "Query.orders",
        "Query.apiKeys",
        "Query.carrierCoverage",
        "Query.municipalities",
        "RobotJob.items",
        "Order.robotJobItems",
    }
    relays = {"first": "Int", "after": "String", "last": "Int", "before": "String"}
    for field in paged.values():
        given = {name: str(argument.type) for name, argument in field.args.items()}
        assert given.items() >= relays.items()
        assert isinstance(field.type, GraphQLNonNull)
