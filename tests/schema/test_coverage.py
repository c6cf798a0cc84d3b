"""Cities and municipalities in the contract."""

from tests.schema.caller import Caller
from tests.schema.documents import COVERAGE, MUNICIPALITIES


async def test_a_city_shows_all_it_has(operator: Caller) -> None:
    shown = (await operator.ask(COVERAGE, search="medellín", department="Antioquia", supportsCod=True))[
        "carrierCoverage"
    ]

    assert shown["nodes"][0] == {
        "carrierCity": "MEDELLIN (ANT)",
        "cityName": "MEDELLIN",
        "department": "ANT",
        "supportsCod": True,
        "municipality": {"daneCode": "05001", "name": "Medellín"},
    }
    assert shown["totalCount"] == len(shown["nodes"])


async def test_a_municipality_shows_all_it_has(operator: Caller) -> None:
    shown = (await operator.ask(MUNICIPALITIES, search="MEDELLIN", department="05"))["municipalities"]

    assert shown["nodes"] == [
        {"daneCode": "05001", "name": "Medellín", "departmentCode": "05", "departmentName": "Antioquia"}
    ]


async def test_pages_follow_one_another(operator: Caller) -> None:
    first = (await operator.ask(MUNICIPALITIES, search="san", first=2))["municipalities"]
    second = (await operator.ask(MUNICIPALITIES, search="san", first=2, after=first["pageInfo"]["endCursor"]))[
        "municipalities"
    ]
    back = (await operator.ask(MUNICIPALITIES, search="san", last=2, before=second["pageInfo"]["startCursor"]))[
        "municipalities"
    ]

    assert first["pageInfo"]["hasNextPage"]
    assert back["nodes"] == first["nodes"]
    assert not [node for node in second["nodes"] if node in first["nodes"]]
