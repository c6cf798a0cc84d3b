"""The carrier over HTTP, where the conformance suite says nothing."""

from collections.abc import AsyncIterator

import pytest

from clients.robot.carrier import Account, CarrierSettings, FieldRefused, PortalUnavailable
from clients.robot.carriers.sandbox import SandboxCarrier
from clients.robot.conformance.suite import CITY_WITHOUT_COD, PREPAID, an_order, fill, press
from clients.robot.sandbox_portal.server import RunningPortal, running_portal
from tests.clients.robot.portal_visitors import fast


@pytest.fixture
async def portal() -> AsyncIterator[RunningPortal]:
    async with running_portal(fast()) as portal:
        yield portal


@pytest.fixture
async def carrier(portal: RunningPortal) -> AsyncIterator[SandboxCarrier]:
    carrier = SandboxCarrier(CarrierSettings(url=portal.url), Account("tienda", "tienda", "sandbox"))
    await carrier.open_session()
    yield carrier
    await carrier.close()


async def test_a_choice_that_is_disabled_is_read_back_as_it_is(carrier: SandboxCarrier) -> None:
    form = carrier.form(an_order(**PREPAID, ciudad=CITY_WITHOUT_COD, esFleteContraentrega=True), "1")

    await carrier.fill(form)

    assert await carrier.read_back() == {**form, "flete_contra_entrega": "N"}


async def test_a_session_of_another_portal_is_not_sent_to_this_one(
    carrier: SandboxCarrier, portal: RunningPortal
) -> None:
    kept = await carrier.open_session()

    async with running_portal(fast()) as other:
        elsewhere = SandboxCarrier(CarrierSettings(url=other.url), carrier.account)
        assert (await elsewhere.open_session(kept))["cookies"] != kept["cookies"]
        await elsewhere.close()
    assert portal.store.list_accounts()[0]["logins"] == 1


async def test_an_amount_with_decimals_is_not_typed(carrier: SandboxCarrier) -> None:
    with pytest.raises(FieldRefused):
        await carrier.fill(carrier.form(an_order(totalConIva=1500.5), "1"))


async def test_evidence_is_what_the_portal_answered_last(carrier: SandboxCarrier) -> None:
    await fill(carrier, an_order(referencia="ORD-1#error"))
    await press(carrier)

    evidence = await carrier.evidence()

    assert evidence is not None
    assert evidence.content_type == "text/plain"
    text = evidence.content.decode()
    assert text.startswith("POST http://")
    assert "Ocurrió un error inesperado" in text


async def test_nothing_is_read_back_where_nothing_was_typed(carrier: SandboxCarrier) -> None:
    with pytest.raises(PortalUnavailable):
        await carrier.read_back()
