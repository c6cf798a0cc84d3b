"""A job and the items that are asked with it are one snapshot, however the query is written."""

import asyncio
from typing import Any

import pytest

from tests.schema.caller import Caller
from tests.tenants import Tenant

JOB = "query ($id: ID!) { robotJob(id: $id) "
SELECTIONS = {
    "plainly": JOB + "{ totalItems items(first: 1000) { nodes { status } } } }",
    "aliased": JOB + "{ totalItems items: items(first: 1000) { nodes { status } } } }",
    "in a fragment": JOB + "{ ...Whole } } fragment Whole on RobotJob { ... on Node { ...Items } totalItems } "
    "fragment Items on RobotJob { items(first: 1000) { nodes { status } } }",
    "in two selections of the job": JOB
    + "{ totalItems } robotJob(id: $id) { items(first: 1000) { nodes { status } } } }",
    "with variables": "query ($id: ID!, $first: Int! = 1000, $s: [RobotJobItemStatus!]) "
    "{ robotJob(id: $id) { totalItems items(first: $first, filter: {status: $s}) { nodes { status } } } }",
    "included": "query ($id: ID!, $yes: Boolean! = true) "
    "{ robotJob(id: $id) { totalItems items(first: 1000) @include(if: $yes) { nodes { status } } } }",
}


def statuses(page: dict[str, Any]) -> list[str]:
    return [node["status"] for node in page["nodes"]]


@pytest.mark.parametrize("written", SELECTIONS)
async def test_items_are_read_in_the_jobs_own_snapshot(
    tenant: Tenant, operator: Caller, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_hand = await tenant.job(items=3)

    async def refuse(_keys: object) -> None:
        raise AssertionError("the items were read a second time, in a snapshot of their own")

    monkeypatch.setattr("schema.loaders.Loaders._load_items_of_jobs", refuse)
    shown = (await operator.ask(SELECTIONS[written], id=str(in_hand.job.id)))["robotJob"]

    assert shown == {"totalItems": 3, "items": {"nodes": [{"status": "PENDING"}] * 3}}


async def test_counters_agree_with_items_while_results_come_in(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=40)
    document = """query ($id: ID!) { robotJob(id: $id) {
        status successCount errorCount
        all: items(first: 1000) { nodes { status } }
        failed: items(first: 1000, filter: {status: ERROR}) { nodes { status } }
        } }"""

    async def report() -> None:
        for number, item in enumerate(in_hand.items):
            await (tenant.fail(item) if number % 3 else tenant.succeed(item))

    seen = set()
    async with asyncio.TaskGroup() as tasks:
        reporting = tasks.create_task(report())
        while not reporting.done():
            job = (await operator.ask(document, id=str(in_hand.job.id)))["robotJob"]
            seen.add(job["successCount"] + job["errorCount"])
            assert statuses(job["all"]).count("SUCCESS") == job["successCount"]
            assert statuses(job["all"]).count("ERROR") == job["errorCount"] == len(statuses(job["failed"]))

    assert len(seen) > 3, "the reader never met the writer"


async def test_two_aliases_with_different_filters_each_have_their_own_items(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=6, succeeded=2, failed=3)
    document = """query ($id: ID!, $kinds: RobotJobItemFilter) { robotJob(id: $id) {
        done: items(filter: {status: [SUCCESS]}) { nodes { status } }
        open: items(filter: {status: PENDING}) { nodes { status } }
        kinds: items(filter: $kinds, last: 1) { nodes { id status } }
        none: items(filter: {status: []}) { nodes { status } }
        all: items(filter: {}) { nodes { status } }
        } }"""

    job = (await operator.ask(document, id=str(in_hand.job.id), kinds={"errorType": "PORTAL"}))["robotJob"]

    assert statuses(job["done"]) == ["SUCCESS"] * 2
    assert statuses(job["open"]) == ["PENDING"]
    assert job["kinds"]["nodes"] == [{"id": str(in_hand.items[4].id), "status": "ERROR"}]
    assert statuses(job["none"]) == []
    assert statuses(job["all"]) == ["SUCCESS"] * 2 + ["ERROR"] * 3 + ["PENDING"]


@pytest.mark.parametrize("directive", ["@include(if: $no)", "@skip(if: true)", "@include(if: true) @skip(if: true)"])
async def test_items_that_are_left_out_are_not_asked_for(tenant: Tenant, operator: Caller, directive: str) -> None:
    in_hand = await tenant.job(items=1)
    document = (
        "query ($id: ID!, $no: Boolean! = false) { robotJob(id: $id) { totalItems "
        f"items(first: -1) {directive} {{ nodes {{ id }} }} "
        f"... {directive} {{ more: items(last: -1) {{ nodes {{ id }} }} }} "
        "no: __typename @include(if: $no) } }"
    )

    assert (await operator.ask(document, id=str(in_hand.job.id)))["robotJob"] == {"totalItems": 1}
