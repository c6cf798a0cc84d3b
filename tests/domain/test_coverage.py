"""Cities and municipalities as a form offers them."""

from typing import Any

import pytest

from domain.carriers import Carrier
from domain.coverage import (
    CITIES_BY_NAME,
    CarrierCity,
    ListedMunicipality,
    PlaceFilter,
    list_carrier_cities,
    list_municipalities,
)
from domain.errors import InvalidInput
from domain.filters import fold
from domain.pages import Page, PageRequest
from domain.workspaces import Role
from tests.tenants import Tenant


async def cities(tenant: Tenant, page: PageRequest | None = None, **wanted: Any) -> Page[CarrierCity]:
    async with tenant.work(Role.VIEWER) as connection:
        return await list_carrier_cities(
            connection,
            Carrier.COORDINADORA,
            page=page or PageRequest(2_000, with_total=True),
            place_filter=PlaceFilter.of(**wanted),
        )


async def municipalities(tenant: Tenant, page: PageRequest | None = None, **wanted: Any) -> Page[ListedMunicipality]:
    async with tenant.work(Role.VIEWER) as connection:
        return await list_municipalities(
            connection, page=page or PageRequest(2_000, with_total=True), place_filter=PlaceFilter.of(**wanted)
        )


async def test_all_of_both_are_listed_by_name(tenant: Tenant) -> None:
    served, official = await cities(tenant), await municipalities(tenant)

    assert (len(served.rows), served.total) == (1_489, 1_489)
    assert (len(official.rows), official.total) == (1_122, 1_122)
    names = [city.carrier_city for city in served.rows]
    assert names == sorted(names, key=lambda name: (fold(name), name))
    codes = [(fold(each.municipality.municipality_name), each.dane_code) for each in official.rows]
    assert codes == sorted(codes)


async def test_what_begins_with_the_text_comes_before_what_holds_it(tenant: Tenant) -> None:
    served = [city.carrier_city for city in (await cities(tenant, search="Cali")).rows]
    official = [each.municipality.municipality_name for each in (await municipalities(tenant, search="cÁli")).rows]

    assert served[0].startswith("CALI")
    for names in (served, official):
        begins = [fold(name).startswith("cali") for name in names]
        assert begins == sorted(begins, reverse=True)
        assert all("cali" in fold(name) for name in names)
        assert begins.count(False) >= 1


async def test_cities_are_filtered_by_department_and_cash_on_delivery(tenant: Tenant) -> None:
    antioquia = await cities(tenant, department="Antioquia")
    with_cod, without = await cities(tenant, supports_cod=True), await cities(tenant, supports_cod=False)

    assert {city.department_abbrev for city in antioquia.rows} == {"ANT"}
    for department in ("ANT", "ant", " ANTIÓQUIA "):
        assert (await cities(tenant, department=department)).rows == antioquia.rows
    assert (with_cod.total, without.total) == (1_181, 308)
    assert all(city.supports_cod for city in with_cod.rows)
    assert (await cities(tenant, department="Nowhere")).rows == []
    (medellin,) = (await cities(tenant, search="medellin (", department="ANT")).rows
    assert medellin.municipality is not None
    assert (medellin.municipality.dane_code, medellin.municipality.municipality_name) == ("05001", "Medellín")


async def test_municipalities_are_filtered_by_department(tenant: Tenant) -> None:
    by_code = await municipalities(tenant, department="05")

    assert {each.municipality.department_name for each in by_code.rows} == {"Antioquia"}
    assert by_code.total == 125
    assert (await municipalities(tenant, department="antioquia")).rows == by_code.rows


@pytest.mark.parametrize("is_backward", [False, True])
@pytest.mark.parametrize("wanted", [{}, {"search": "san"}], ids=str)
async def test_pages_of_cities_are_the_list(tenant: Tenant, wanted: dict[str, Any], is_backward: bool) -> None:
    everything = (await cities(tenant, **wanted)).rows
    seen: list[CarrierCity] = []
    has_more = True

    while has_more:
        edge = CITIES_BY_NAME.cursor(seen[0 if is_backward else -1]) if seen else None
        arguments: dict[str, Any] = {"last": 100, "before": edge} if is_backward else {"first": 100, "after": edge}
        page = await cities(tenant, PageRequest.of(CITIES_BY_NAME, **arguments), **wanted)
        seen = [*page.rows, *seen] if is_backward else [*seen, *page.rows]
        has_more = page.has_previous if is_backward else page.has_next

    assert seen == everything


@pytest.mark.parametrize("wanted", [{"search": "x"}, {"search": "a\x00b"}, {"department": "x" * 101}], ids=ascii)
def test_a_filter_that_cannot_be_is_refused_under_its_name(wanted: dict[str, str]) -> None:
    with pytest.raises(InvalidInput) as refusal:
        PlaceFilter.of(**wanted)  # type: ignore[arg-type]  # only texts are given

    assert [problem.path for problem in refusal.value.problems] == list(wanted)
