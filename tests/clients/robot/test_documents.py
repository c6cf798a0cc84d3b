"""The robot asks for nothing that the committed contract does not have."""

from pathlib import Path

import pytest
from gql import GraphQLRequest
from graphql import build_schema, validate

from clients.robot import documents

_CONTRACT = build_schema((Path(__file__).parents[3] / "schema/schema.graphql").read_text(encoding="utf-8"))
_DOCUMENTS = {name: value for name, value in vars(documents).items() if isinstance(value, GraphQLRequest)}


@pytest.mark.parametrize("name", _DOCUMENTS)
def test_a_document_fits_the_contract(name: str) -> None:
    assert validate(_CONTRACT, _DOCUMENTS[name].document) == []
