"""A robot ships: through a real API, and a portal that goes wrong as the test says."""

from typing import Any

import pytest

from clients.robot.carrier import CarrierUnusable
from domain.robot_jobs import ClosedBy, ErrorType, ItemStatus, RobotJobItem
from tests.clients.robot.workshops import PASSWORD, Workshop
from tests.domain.secrets import upsert
from tests.servers import until
from tests.tenants import JobInHand, Tenant

FILLED_IN = ["fill", "read back"]
PRESSED = ["submit", "after submit", "result"]
AT_ONCE = {"absent_after_s": 0}


async def ended(workshop: Workshop, job: JobInHand, *, parcels: int) -> RobotJobItem:
    """The first item after it was closed; never with more parcels than that."""
    item = await workshop.item(job)
    assert not item.status.is_open
    assert len(workshop.parcels(item)) == parcels
    return item


async def test_orders_are_shipped_under_rising_numbers_with_one_login(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=3)

    await workshop.run()

    items = (await shop.read(job.job.id)).items
    assert [item.status for item in items] == [ItemStatus.SUCCESS] * 3
    assert [item.tracking_number for item in items] == ["1", "2", "3"]
    assert [workshop.parcels(item) for item in items] == [["1"], ["2"], ["3"]]
    assert workshop.portal.count("log in") == 1
    assert workshop.metrics.outcomes == {"success": 3}
    assert workshop.portal.steps(reference=workshop.reference(items[0])) == FILLED_IN + PRESSED
    (attempt,) = await shop.attempts(items[0])
    assert attempt.robot is not None
    assert attempt.robot.startswith("robot ")
    assert [step.name for step in attempt.steps] == [
        *("open_session", "last_number", "fill", "read_back", "mark", "submit", "read_result")
    ]
    async with workshop.journal() as journal:
        assert (journal.list_claims(), journal.list_results(), journal.next_evidence()) == ([], [], None)


# ---------------------------------------------------------------------------------------------- before the button


async def test_a_field_that_the_form_drops_once_is_typed_again(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("fill", "drop")

    await workshop.run()

    assert (await ended(workshop, job, parcels=1)).status == ItemStatus.SUCCESS
    assert workshop.portal.count("fill") == 2


async def test_a_field_that_the_form_never_keeps_is_an_error_and_nothing_is_submitted(
    workshop: Workshop, shop: Tenant
) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("fill", "drop", times=2)

    await workshop.run()

    item = await ended(workshop, job, parcels=0)
    assert (item.error_type, item.outcome_unknown) == (ErrorType.PORTAL, False)
    assert "direccion_ was typed as 'Calle 1 # 2-3' and kept as ''" in str(item.error_message)
    assert workshop.portal.count("submit") == 0


async def test_a_refused_login_is_tried_once_and_gives_everything_back(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=3)
    workshop.portal.order("log in", "refuse", times=4)

    await workshop.run(limit=3)

    items = (await shop.read(job.job.id)).items
    assert [(item.status, item.attempt) for item in items] == [(ItemStatus.PENDING, 1)] * 3
    assert workshop.portal.count("log in") == 1
    assert workshop.metrics.outcomes == {"login_refused": 1}


async def test_a_refused_login_is_tried_once_more_when_somebody_resumes_the_account(
    workshop: Workshop, shop: Tenant
) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("log in", "refuse")

    async with workshop.running():
        await workshop.answered("ReleaseJobItems")
        await workshop.resume()
        await until(lambda: workshop.metrics.outcomes["success"] == 1)

    assert (await ended(workshop, job, parcels=1)).attempt == 1
    assert workshop.portal.count("log in") == 2


async def test_a_refused_login_is_not_tried_again_because_the_api_forgot(workshop: Workshop, shop: Tenant) -> None:
    await shop.job(items=1)
    workshop.portal.order("log in", "refuse", times=100)
    workshop.after("ReleaseJobItems", workshop.forget_the_pause)

    async with workshop.running():
        await workshop.answered("ReleaseJobItems", times=2)

    assert workshop.portal.count("log in") == 1


async def test_another_password_is_tried_after_a_refused_one(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    await upsert(shop, password="wrong")

    async with workshop.running():
        await workshop.answered("ReleaseJobItems")
        await upsert(shop, password=PASSWORD)
        await until(lambda: workshop.metrics.outcomes["success"] == 1)

    await ended(workshop, job, parcels=1)
    assert workshop.portal.count("log in") == 2


@pytest.mark.parametrize("step", ["log in", "last number", "fill", "read back"])
async def test_a_portal_that_is_away_uses_up_no_attempt(workshop: Workshop, shop: Tenant, step: str) -> None:
    job = await shop.job(items=1)
    workshop.portal.order(step, "PortalUnavailable")

    await workshop.run()

    item = await ended(workshop, job, parcels=1)
    assert (item.status, item.attempt) == (ItemStatus.SUCCESS, 1)
    assert workshop.metrics.outcomes == {"portal_unavailable": 1, "success": 1}


@pytest.mark.parametrize("step", ["last number", "fill", "read back"])
async def test_a_session_lost_before_the_button_is_opened_again_once(
    workshop: Workshop, shop: Tenant, step: str
) -> None:
    job = await shop.job(items=1)
    workshop.portal.order(step, "SessionLost")

    await workshop.run()

    assert (await ended(workshop, job, parcels=1)).status == ItemStatus.SUCCESS
    assert workshop.portal.count("log in") == 2


async def test_a_value_that_the_form_refuses_is_a_validation_error(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("fill", "FieldRefused")

    await workshop.run()

    item = await ended(workshop, job, parcels=0)
    assert (item.error_type, item.error_message) == (ErrorType.VALIDATION, "FieldRefused at fill.")


async def test_a_defect_before_the_button_is_an_error_without_the_password(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("fill", "Defect")

    await workshop.run()

    item = await ended(workshop, job, parcels=0)
    assert (item.error_type, item.outcome_unknown) == (ErrorType.UNKNOWN, False)
    assert "ValueError: a defect, with the password *** in it" in str(item.error_message)
    assert PASSWORD not in str(item)


async def test_a_carrier_that_cannot_work_here_ends_the_robot_and_uses_up_nothing(
    workshop: Workshop, shop: Tenant
) -> None:
    job = await shop.job(items=2)
    workshop.portal.order("log in", "CarrierUnusable")

    with pytest.raises(CarrierUnusable):
        await workshop.run(limit=2)

    items = (await shop.read(job.job.id)).items
    assert [(item.status, item.attempt) for item in items] == [(ItemStatus.PENDING, 1)] * 2
    assert [item.lease_token for item in items] == [None, None]


async def test_a_number_that_another_try_has_reserved_is_passed_by(workshop: Workshop, shop: Tenant) -> None:
    elsewhere = await shop.job(items=1)
    claimed = await shop.claim()
    await workshop.mark(claimed.items[0], "1")
    job = await shop.job(items=1)

    await workshop.run(until_idle=True)

    item = await ended(workshop, job, parcels=1)
    assert item.tracking_number == "2"
    assert workshop.portal.count("fill") == 2
    assert (await workshop.item(elsewhere)).status == ItemStatus.PROCESSING


async def test_a_job_that_is_cancelled_while_the_form_is_filled_in_is_not_submitted(
    workshop: Workshop, shop: Tenant
) -> None:
    job = await shop.job(items=1)
    workshop.after("ClaimJobItems", lambda: workshop.cancel(job))

    await workshop.run()

    item = await ended(workshop, job, parcels=0)
    assert item.status == ItemStatus.CANCELLED
    assert workshop.metrics.outcomes == {"let_go": 1}


async def test_an_order_that_was_shipped_meanwhile_is_not_submitted(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    order_id = job.items[0].order_id
    workshop.after("ClaimJobItems", lambda: shop.change_order(order_id, tracking_number="by hand"))

    await workshop.run()

    item = await workshop.item(job)
    # The API's own sweep may have closed it by now: no robot may take it.
    assert (item.status, item.closed_by) in ((ItemStatus.PENDING, None), (ItemStatus.ERROR, ClosedBy.SYSTEM))
    assert item.submitted_at is None
    assert workshop.portal.count("submit") == 0


# ---------------------------------------------------------------------------------------------- after the button


async def test_a_refusal_of_the_portal_is_reported_in_its_words(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("portal", "refuse")

    await workshop.run()

    item = await ended(workshop, job, parcels=0)
    assert (item.error_type, item.error_message) == (ErrorType.VALIDATION, "The address is not valid.")
    assert not item.outcome_unknown


async def test_a_session_lost_at_the_button_is_an_error_because_nothing_is_stored(
    workshop: Workshop, shop: Tenant
) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("submit", "SessionLost")

    await workshop.run()

    item = await ended(workshop, job, parcels=0)
    assert (item.error_type, item.outcome_unknown) == (ErrorType.PORTAL, False)


@pytest.mark.parametrize("what", ["OutcomeUnknown", "Defect"])
@pytest.mark.parametrize("step", ["after submit", "result"])
async def test_a_parcel_without_an_answer_is_found_in_the_list(
    workshop: Workshop, shop: Tenant, step: str, what: str
) -> None:
    job = await shop.job(items=1)
    workshop.portal.order(step, what)

    await workshop.run()

    item = await ended(workshop, job, parcels=1)
    assert (item.status, item.tracking_number, item.carrier_guide_number) == (ItemStatus.SUCCESS, "1", "G1")
    assert workshop.metrics.outcomes == {"success": 1}


async def test_what_is_not_in_the_list_is_unknown_and_later_confirmed_absent(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("submit", "OutcomeUnknown")

    await workshop.run(portal=AT_ONCE)

    item = await ended(workshop, job, parcels=0)
    assert (item.error_type, item.outcome_unknown) == (ErrorType.TIMEOUT, False)
    (attempt,) = await shop.attempts(item)
    assert attempt.resolution == "confirmed_absent"
    assert "Number 1, reserved for this order, is not in the portal's list" in str(attempt.resolution_reason)
    assert workshop.metrics.outcomes == {"unknown": 1}


async def test_a_number_that_somebody_else_has_taken_is_an_error(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("submit", "taken")

    await workshop.run()

    item = await ended(workshop, job, parcels=0)
    assert (item.error_type, item.outcome_unknown) == (ErrorType.PORTAL, False)
    assert "number 1 was taken by somebody else's parcel" in str(item.error_message)


async def test_a_duplicate_that_is_our_own_parcel_is_a_success(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("result", "says duplicate")

    await workshop.run()

    item = await ended(workshop, job, parcels=1)
    assert (item.status, item.tracking_number) == (ItemStatus.SUCCESS, "1")


async def test_a_duplicate_in_a_list_without_references_is_left_to_people(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("submit", "taken")

    await workshop.run(portal=AT_ONCE | without_references(workshop))

    item = await ended(workshop, job, parcels=0)
    assert (item.error_type, item.outcome_unknown) == (ErrorType.UNKNOWN, True)
    assert workshop.portal.count("look up") == 2


def without_references(workshop: Workshop) -> dict[str, Any]:
    return {"options": {"portal": str(workshop.portal.file), "no_reference": "yes"}}


async def test_a_reference_that_all_orders_share_proves_nothing(workshop: Workshop, shop: Tenant) -> None:
    await workshop.give_all_orders_the_reference("TIENDA")
    job = await shop.job(items=1)
    workshop.portal.store("tienda", 1, "TIENDA")
    workshop.portal.order("last number", "hidden")
    workshop.portal.order("result", "says duplicate")

    await workshop.run(portal=AT_ONCE)

    item = await workshop.item(job)
    assert (item.error_type, item.outcome_unknown) == (ErrorType.UNKNOWN, True)


# ---------------------------------------------------------------------------------------------- looking up


async def test_an_outcome_that_another_robot_left_is_settled_by_its_number(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    claimed = (await shop.claim()).items[0]
    await workshop.mark(claimed, "7")
    workshop.portal.store("tienda", 7, workshop.reference(claimed))
    await shop.fail(claimed, error_type=ErrorType.TIMEOUT)

    await workshop.run()

    item = await ended(workshop, job, parcels=1)
    assert (item.status, item.tracking_number, item.carrier_guide_number) == (ItemStatus.SUCCESS, "7", "G7")
    assert workshop.portal.count("submit") == 0


async def test_a_number_under_which_another_order_went_is_absent(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    claimed = (await shop.claim()).items[0]
    await workshop.mark(claimed, "7")
    workshop.portal.store("tienda", 7, "somebody else's")
    await shop.fail(claimed, error_type=ErrorType.TIMEOUT)

    await workshop.run(portal=AT_ONCE)

    item = await ended(workshop, job, parcels=0)
    assert (item.status, item.outcome_unknown) == (ItemStatus.ERROR, False)


async def test_what_is_too_young_to_be_absent_is_looked_up_again_later(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("submit", "OutcomeUnknown")

    async with workshop.running(portal={"absent_after_s": 3_600}):
        await workshop.answered("ReleaseJobItems")

    item = await ended(workshop, job, parcels=0)
    assert item.outcome_unknown
    assert 3_000 < await workshop.looked_up_again_after_s(item) < 3_700


async def test_an_outcome_without_a_number_is_left_to_people(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    claimed = (await shop.claim()).items[0]
    await shop.mark(claimed)
    await shop.fail(claimed, error_type=ErrorType.TIMEOUT)

    await workshop.run(portal=AT_ONCE)

    assert (await workshop.item(job)).outcome_unknown
    assert workshop.portal.count("look up") == 0
