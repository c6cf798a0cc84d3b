"""A robot whose way to the API fails: answers that are lost half-way, an API that is away, one that refuses."""

import asyncio
import json
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from clients.robot import leases
from clients.robot.api import ReleaseReason
from clients.robot.transport import KeyRefused
from domain.evidence import list_evidence
from domain.robot_jobs import ErrorType, ItemStatus
from tests.clients.robot.workshops import PASSWORD, Workshop
from tests.domain.secrets import upsert
from tests.schema.documents import CLAIM
from tests.servers import until
from tests.tenants import Tenant


class LeaseClock:
    """Runs as ever, until the test lets time pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real, self._ahead_s = leases.lease_clock, 0.0
        monkeypatch.setattr(leases, "lease_clock", lambda: self._real() + self._ahead_s)

    async def pass_by(self, seconds: float) -> None:
        self._ahead_s += seconds


@pytest.fixture
def lease_clock(monkeypatch: pytest.MonkeyPatch) -> LeaseClock:
    return LeaseClock(monkeypatch)


async def test_a_mark_whose_answer_is_lost_is_asked_again_before_the_button(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.gate.lost["markItemSubmitting("] = 1

    await workshop.run()

    item = await workshop.item(job)
    assert (item.status, workshop.parcels(item)) == (ItemStatus.SUCCESS, ["1"])
    assert workshop.gate.passed.count("MarkItemSubmitting") == 2


async def test_a_result_whose_answer_is_lost_is_sent_again_and_counts_once(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=2)
    workshop.gate.lost["updateJobItemResults("] = 2

    await workshop.run()

    kept = await shop.read(job.job.id)
    assert [item.status for item in kept.items] == [ItemStatus.SUCCESS] * 2
    assert (kept.job.success_count, kept.job.error_count) == (2, 0)
    assert workshop.gate.passed.count("UpdateJobItemResults") == 4
    assert all(item.review_reason is None for item in kept.items)


async def test_a_result_waits_on_the_disk_while_the_api_is_away(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)

    async def close() -> None:
        workshop.gate.is_closed = True

    workshop.after("MarkItemSubmitting", close)

    async with asyncio.TaskGroup() as group:
        working = group.create_task(workshop.run())
        await until(lambda: workshop.metrics.outcomes["success"] == 1)
        assert (await workshop.item(job)).status == ItemStatus.PROCESSING
        assert not working.done()
        workshop.gate.is_closed = False

    item = await workshop.item(job)
    assert (item.status, workshop.parcels(item)) == (ItemStatus.SUCCESS, ["1"])


async def test_a_robot_that_stops_while_the_api_is_away_reports_after_its_next_start(
    workshop: Workshop, shop: Tenant
) -> None:
    job = await shop.job(items=1)

    async def close() -> None:
        workshop.gate.is_closed = True

    workshop.after("MarkItemSubmitting", close)
    async with workshop.running() as stopping:
        await until(lambda: workshop.metrics.outcomes["success"] == 1)
        stopping.set()

    async with workshop.journal() as journal:
        (kept,) = journal.list_results()
    assert kept.input["trackingNumber"] == "1"
    assert (await workshop.item(job)).status == ItemStatus.PROCESSING
    workshop.gate.is_closed = False

    await workshop.run()

    item = await workshop.item(job)
    assert (item.status, item.attempt, workshop.parcels(item)) == (ItemStatus.SUCCESS, 1, ["1"])


async def test_a_mark_that_is_answered_after_the_lease_has_ended_is_not_followed_by_the_button(
    workshop: Workshop, shop: Tenant, lease_clock: LeaseClock
) -> None:
    job = await shop.job(items=1)
    workshop.after("MarkItemSubmitting", lambda: lease_clock.pass_by(1_000))

    await workshop.run()

    item = await workshop.item(job)
    assert (item.error_type, item.outcome_unknown) == (ErrorType.PORTAL, False)
    assert "ran out before the robot pressed the button. Nothing was submitted." in str(item.error_message)
    assert workshop.portal.count("submit") == 0


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_mark_that_is_never_answered_is_not_followed_by_the_button(
    workshop: Workshop, shop: Tenant, lease_clock: LeaseClock, arrives: bool
) -> None:
    job = await shop.job(items=1)

    async def close() -> None:
        workshop.gate.is_closed = True

    workshop.gate.lost["markItemSubmitting("] = 1
    workshop.after("ClaimJobItems", lambda: lease_clock.pass_by(118))
    workshop.after("MarkItemSubmitting" if arrives else "ClaimJobItems", close)

    async with asyncio.TaskGroup() as group:
        group.create_task(workshop.run(lease_s=120))
        await until(lambda: workshop.metrics.outcomes["given_back"] == 1)
        assert workshop.portal.count("submit") == 0
        workshop.gate.is_closed = False

    item = await workshop.item(job)
    if arrives:
        assert (item.error_type, item.outcome_unknown) == (ErrorType.PORTAL, False)
        assert "did not press the button" in str(item.error_message)
        assert workshop.parcels(item) == []
    else:
        assert (item.status, item.attempt, workshop.parcels(item)) == (ItemStatus.SUCCESS, 1, ["2"])


async def test_an_api_that_asks_for_a_pause_is_given_it(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.gate.refused.append(("claimJobItems(", Response("slowly", 429, headers={"Retry-After": "1"})))
    began = asyncio.get_running_loop().time()

    await workshop.run()

    assert (await workshop.item(job)).status == ItemStatus.SUCCESS
    assert asyncio.get_running_loop().time() - began >= 1


async def test_a_key_that_is_refused_ends_the_robot(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.key = "rjk_of-nobody"

    with pytest.raises(KeyRefused):
        await workshop.run()

    assert (await workshop.item(job)).status == ItemStatus.PENDING


async def test_a_robot_whose_key_is_refused_over_an_item_notes_that_it_stopped(
    workshop: Workshop, shop: Tenant
) -> None:
    await shop.job(items=1)
    workshop.gate.refused.append(("markItemSubmitting(", Response("no", 401)))

    with pytest.raises(KeyRefused):
        await workshop.run()

    async with workshop.journal() as journal:
        assert [claim.reason for claim in journal.list_claims()] == [ReleaseReason.STOPPING]


def answered(*results: dict[str, Any]) -> Response:
    payload = {"__typename": "UpdateJobItemResultsSuccess", "results": results}
    return JSONResponse({"data": {"updateJobItemResults": payload}})


async def test_a_result_that_the_api_cannot_take_is_set_aside_and_holds_up_nobody(
    workshop: Workshop, shop: Tenant
) -> None:
    job = await shop.job(items=2)
    refusal = {"__typename": "InvalidInput", "code": "INVALID_INPUT", "message": "No.", "problems": []}
    workshop.gate.refused.append(("updateJobItemResults(", answered(refusal)))

    async with workshop.running():
        await until(lambda: workshop.metrics.outcomes["success"] == 2)
        await workshop.answered("UpdateJobItemResults")

    items = (await shop.read(job.job.id)).items
    assert [item.status for item in items] == [ItemStatus.PROCESSING, ItemStatus.SUCCESS]

    await workshop.run()  # a new start tries once more

    assert (await workshop.item(job)).tracking_number == "1"


@pytest.mark.parametrize("code", ["STALE_ATTEMPT", "RESULT_CONFLICT", "LEASE_LOST", "ROBOT_JOB_ITEM_NOT_FOUND"])
async def test_a_final_refusal_of_a_result_ends_its_delivery(workshop: Workshop, shop: Tenant, code: str) -> None:
    await shop.job(items=1)
    refusal = {"__typename": "AnyRefusal", "code": code, "message": "It is over."}
    workshop.gate.refused.append(("updateJobItemResults(", answered(refusal)))

    async with workshop.running():
        await until(lambda: workshop.metrics.outcomes["success"] == 1)
        await until(lambda: workshop.kept("results") == 0)

    assert workshop.kept("claims") == 0


async def test_one_result_that_spoils_the_request_is_told_from_the_others(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=2)
    items = job.items
    async with workshop.journal() as journal:
        for item, status in ((items[0], "NONSENSE"), (items[1], "SUCCESS")):
            result = {"itemId": str(item.id), "attempt": 1, "status": status, "trackingNumber": "7"}
            journal.keep_result(str(shop.workspace_id), result)

    async with workshop.running():
        await until(lambda: workshop.is_closed(job, 1))

    async with workshop.journal() as journal:
        (kept,) = journal.list_results()
    assert kept.item_id == str(items[0].id)


async def test_evidence_follows_its_result_without_the_password(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("portal", "refuse")
    workshop.gate.refused.append(("/evidence/", Response("", 201)))

    await workshop.run()

    sent = [(path, body) for path, body in workshop.gate.bodies if path.startswith("/evidence/")]
    ((path, body),) = sent
    assert path == f"/evidence/{job.items[0].id}/1"
    assert "Calle 1 # 2-3" in body
    assert PASSWORD not in json.dumps(workshop.gate.bodies)
    names = [path for path, body in workshop.gate.bodies if path != "/graphql" or "updateJobItemResults(" in body]
    assert names.index("/graphql") < names.index(path)


async def test_evidence_can_be_read_beside_the_attempt(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("portal", "refuse")

    await workshop.run()

    async with shop.work() as connection:
        ((evidence,),) = (await list_evidence(connection, [job.items[0].id])).values()
    assert (evidence.attempt, evidence.content_type) == (1, "text/html")
    answer = await workshop.gate.http.get(
        f"{workshop.gate.target}/evidence/{evidence.id}", headers={"Authorization": f"Bearer {workshop.key}"}
    )
    assert answer.status_code == 200
    assert "Calle 1 # 2-3" in answer.text
    assert PASSWORD not in answer.text


async def test_a_defect_in_the_background_ends_the_robot_and_is_told(workshop: Workshop, shop: Tenant) -> None:
    await shop.job(items=1)
    workshop.gate.refused.append(("updateJobItemResults(", JSONResponse({"data": {"something": "else"}})))

    with pytest.raises(KeyError):
        await workshop.run()

    assert workshop.kept("claims") == 0


async def test_a_claim_whose_answer_is_lost_is_asked_again_and_leaves_nothing_leased(
    workshop: Workshop, shop: Tenant
) -> None:
    await upsert(shop, max_concurrent_leases=1)
    job = await shop.job(items=2)
    workshop.gate.lost["claimJobItems("] = 1

    await workshop.run()

    items = (await shop.read(job.job.id)).items
    assert [(item.status, item.attempt) for item in items] == [(ItemStatus.SUCCESS, 1)] * 2
    assert workshop.gate.passed.count("ClaimJobItems") >= 3


async def test_a_robot_that_was_killed_over_its_claim_gets_it_at_its_next_start(
    workshop: Workshop, shop: Tenant
) -> None:
    await upsert(shop, max_concurrent_leases=1)
    job = await shop.job(items=1)
    async with workshop.journal() as journal:
        claim_id = journal.claim_id("SHIP")
    asked = {"query": CLAIM, "variables": {"input": {"carrier": "COORDINADORA", "claimId": claim_id}}}
    answer = await workshop.gate.http.post(
        f"{workshop.gate.url}/graphql", json=asked, headers={"Authorization": f"Bearer {workshop.key}"}
    )
    assert len(answer.json()["data"]["claimJobItems"]["items"]) == 1

    await workshop.run()

    assert (await workshop.item(job)).status is ItemStatus.SUCCESS
