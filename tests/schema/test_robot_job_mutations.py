"""What can be done to jobs: each answer, each error with its facts."""

import datetime as dt
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from domain.base import new_id
from domain.orders import Order, update_order
from domain.robot_jobs import ErrorType, robot_job_items, robot_jobs
from domain.workspaces import Role
from tests.schema.caller import Caller, MemoryWakeUps
from tests.schema.documents import CREATE, REPORT, REPORT_MANY, RETRY, SET_STATUS
from tests.tenants import JobInHand, Tenant


def ids(orders: list[Order]) -> list[str]:
    return [str(order.id) for order in orders]


async def jobs_of(tenant: Tenant) -> int:
    async with tenant.work() as connection:
        return int(await connection.scalar(sa.select(sa.func.count()).select_from(robot_jobs)) or 0)


async def job_with_unknown_outcome(tenant: Tenant) -> JobInHand:
    """A job of one item, of which nobody knows whether the parcel exists."""
    in_hand = await tenant.job(items=1)
    await tenant.fail(in_hand.items[0], error_type=ErrorType.TIMEOUT)
    async with tenant.work() as connection:
        await connection.execute(sa.update(robot_job_items).values(outcome_unknown=True))
    return in_hand


# createRobotJob


async def test_create_makes_a_pending_job_of_the_orders(tenant: Tenant, operator: Caller) -> None:
    orders = ids(await tenant.orders(3))

    answer = await operator.do(CREATE, carrier="COORDINADORA", orderIds=[*orders, orders[0]], idempotencyKey="monday")

    assert answer["__typename"] == "CreateRobotJobSuccess"
    assert answer["duplicateOrderIds"] == [orders[0]]
    assert answer["job"] == {
        "id": answer["job"]["id"],
        "status": "PENDING",
        "carrier": "COORDINADORA",
        "jobType": "CREATE_SHIPMENT",
        "totalItems": 3,
        "successCount": 0,
        "errorCount": 0,
        "cancelledCount": 0,
        "idempotencyKey": "monday",
        "createdBy": tenant.user(Role.OPERATOR),
    }
    assert [str(item.order_id) for item in (await tenant.read(uuid.UUID(answer["job"]["id"]))).items] == orders


async def test_create_with_a_key_that_is_held_answers_with_the_job_that_holds_it(
    tenant: Tenant, operator: Caller
) -> None:
    holder = await tenant.job(items=1, idempotency_key="monday")

    answer = await operator.do(
        CREATE, carrier="COORDINADORA", orderIds=ids(await tenant.orders(1)), idempotencyKey="monday"
    )

    assert (answer["__typename"], answer["code"]) == ("IdempotencyKeyInUse", "IDEMPOTENCY_KEY_IN_USE")
    assert answer["job"] == {"id": str(holder.job.id), "status": "PENDING", "idempotencyKey": "monday"}
    assert await jobs_of(tenant) == 1


async def test_create_lists_the_orders_that_are_missing(tenant: Tenant, operator: Caller, other_tenant: Tenant) -> None:
    known, unknown, foreign = ids(await tenant.orders(1)), str(new_id()), ids(await other_tenant.orders(1))

    answer = await operator.do(CREATE, carrier="COORDINADORA", orderIds=[*known, unknown, *foreign])

    assert (answer["__typename"], answer["code"]) == ("OrdersRefused", "ORDERS_REFUSED")
    assert [(each["orderId"], each["reference"], each["problems"][0]["code"]) for each in answer["refused"]] == [
        (order_id, None, "ORDER_NOT_FOUND") for order_id in (unknown, *foreign)
    ]
    assert await jobs_of(tenant) == 0


async def test_create_says_why_each_order_cannot_be_shipped(tenant: Tenant, operator: Caller) -> None:
    free, archived = await tenant.orders(2)
    async with tenant.work() as connection:
        await update_order(connection, archived.id, {"archived_at": dt.datetime.now(dt.UTC)})
    unsettled = await job_with_unknown_outcome(tenant)
    taken = await tenant.job(items=2, succeeded=1)
    shipped, is_open = (str(item.order_id) for item in taken.items)
    unknown = str(unsettled.items[0].order_id)

    answer = await operator.do(
        CREATE, carrier="COORDINADORA", orderIds=[str(free.id), shipped, is_open, str(archived.id), unknown]
    )

    assert (answer["__typename"], answer["code"]) == ("OrdersRefused", "ORDERS_REFUSED")
    assert [
        (each["orderId"], problem["code"], problem["jobId"])
        for each in answer["refused"]
        for problem in each["problems"]
    ] == [
        (shipped, "ALREADY_SHIPPED", None),
        (is_open, "IN_OPEN_JOB", str(taken.job.id)),
        (str(archived.id), "ARCHIVED", None),
        (unknown, "OUTCOME_UNKNOWN", str(unsettled.job.id)),
    ]
    assert await jobs_of(tenant) == 2


async def test_create_of_nothing_is_invalid(tenant: Tenant, operator: Caller) -> None:
    answer = await operator.do(CREATE, carrier="COORDINADORA", orderIds=[])

    assert (answer["__typename"], answer["code"]) == ("InvalidInput", "INVALID_INPUT")
    assert [problem["path"] for problem in answer["problems"]] == ["orderIds"]


async def test_create_leaves_bad_orders_out_where_it_may(tenant: Tenant, operator: Caller) -> None:
    [good] = await tenant.orders(1, city="Medelin")
    [bad] = await tenant.orders(1, city="Atlantis")

    answer = await operator.do(CREATE, carrier="COORDINADORA", orderIds=ids([bad, good]), onInvalid="SKIP_INVALID")

    assert (answer["__typename"], answer["job"]["totalItems"]) == ("CreateRobotJobSuccess", 1)
    for what, order, code in (("refused", bad, "CITY_NOT_COVERED"), ("warned", good, "MISSPELLED_CITY")):
        [told] = answer[what]
        assert (told["orderId"], told["reference"]) == (str(order.id), order.reference)
        assert [problem["code"] for problem in told["problems"]] == [code]


async def test_create_takes_all_that_is_ready(tenant: Tenant, operator: Caller) -> None:
    await tenant.configure()
    await tenant.orders(2)

    answer = await operator.do(CREATE, carrier="COORDINADORA", allReady=True)

    assert (answer["__typename"], answer["job"]["totalItems"]) == ("CreateRobotJobSuccess", 2)
    assert answer["moreAreReady"] is False
    again = await operator.do(CREATE, carrier="COORDINADORA", allReady=True)
    assert (again["__typename"], again["refused"]) == ("OrdersRefused", [])


async def test_create_of_all_that_is_ready_needs_a_config_that_is_switched_on(tenant: Tenant, operator: Caller) -> None:
    assert (await operator.do(CREATE, carrier="COORDINADORA", allReady=True))["code"] == "CARRIER_CONFIG_NOT_FOUND"

    await tenant.configure(is_enabled=False)

    assert (await operator.do(CREATE, carrier="COORDINADORA", allReady=True))["code"] == "CARRIER_CONFIG_DISABLED"


async def test_create_ships_again_with_a_reason(tenant: Tenant, operator: Caller) -> None:
    shipped = await tenant.job(items=1, succeeded=1)
    order_id = str(shipped.items[0].order_id)

    refused = await operator.do(CREATE, carrier="COORDINADORA", orderIds=[order_id])
    answer = await operator.do(
        CREATE, carrier="COORDINADORA", orderIds=[order_id], shipAgain={"reason": "It was lost."}
    )

    assert refused["__typename"] == "OrdersRefused"
    job = (await tenant.read(uuid.UUID(answer["job"]["id"]))).job
    assert job.ship_again_reason == "It was lost."


# updateJobItemResult


async def test_report_records_a_success(tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=2)
    item_id = str(in_hand.items[0].id)

    answer = await robot.do(
        REPORT, itemId=item_id, status="SUCCESS", attempt=1, trackingNumber="P-1", carrierGuideNumber="G-1"
    )

    assert answer == {
        "__typename": "UpdateJobItemResultSuccess",
        "item": {
            "id": item_id,
            "status": "SUCCESS",
            "attempt": 1,
            "trackingNumber": "P-1",
            "carrierGuideNumber": "G-1",
            "errorType": None,
            "errorMessage": None,
        },
        "job": {"id": str(in_hand.job.id), "status": "PROCESSING", "successCount": 1, "errorCount": 0},
        "replayed": False,
    }


async def test_report_of_an_error_without_a_type_is_unknown(tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=1)

    answer = await robot.do(REPORT, itemId=str(in_hand.items[0].id), status="ERROR", errorMessage="It broke.")

    assert answer["item"]["errorType"] == "UNKNOWN"
    assert answer["item"]["errorMessage"] == "It broke."
    assert answer["job"]["status"] == "COMPLETED"


async def test_the_same_report_again_is_answered_as_the_first_time(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=2)
    given = {"itemId": str(in_hand.items[0].id), "status": "SUCCESS", "trackingNumber": "P-1"}
    first = await robot.do(REPORT, **given)

    again = await robot.do(REPORT, **given)

    assert again == {**first, "replayed": True}
    assert wakeups.announced == [in_hand.job.id, tenant.workspace_id], "nothing changed then, so nobody is woken"


async def test_report_of_something_else_conflicts(tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=2)
    item = in_hand.items[0]
    await tenant.succeed(item, tracking_number="P-1")

    answer = await robot.do(REPORT, itemId=str(item.id), status="SUCCESS", trackingNumber="P-2")

    assert (answer["__typename"], answer["code"]) == ("ResultConflict", "RESULT_CONFLICT")
    assert (answer["item"]["status"], answer["item"]["trackingNumber"]) == ("SUCCESS", "P-1")
    assert "P-2" in answer["item"]["reviewReason"], "what was kept for review is committed"
    assert "P-2" in ((await tenant.read(in_hand.job.id)).items[0].review_reason or "")


async def test_report_for_an_older_attempt_is_stale(tenant: Tenant, operator: Caller, robot: Caller) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    await operator.do(RETRY, jobId=str(in_hand.job.id))

    answer = await robot.do(REPORT, itemId=str(in_hand.items[0].id), status="SUCCESS", attempt=1, trackingNumber="P-1")

    assert (answer["__typename"], answer["code"]) == ("StaleAttempt", "STALE_ATTEMPT")
    assert (answer["item"]["status"], answer["item"]["attempt"]) == ("PENDING", 2)
    assert (await tenant.read(in_hand.job.id)).items[0].review_reason == answer["item"]["reviewReason"] is not None


async def test_report_for_an_item_that_is_not_there(robot: Caller) -> None:
    answer = await robot.do(REPORT, itemId=str(new_id()), status="SUCCESS")

    assert (answer["__typename"], answer["code"]) == ("RobotJobItemNotFound", "ROBOT_JOB_ITEM_NOT_FOUND")


async def test_report_that_contradicts_itself_names_each_problem(tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=1)

    answer = await robot.do(
        REPORT, itemId=str(in_hand.items[0].id), status="ERROR", attempt=0, trackingNumber="P", carrierGuideNumber="G"
    )

    assert (answer["__typename"], answer["code"]) == ("InvalidInput", "INVALID_INPUT")
    assert [problem["path"] for problem in answer["problems"]] == ["attempt", "trackingNumber", "carrierGuideNumber"]
    assert "tracking_number" not in answer["message"]
    assert (await tenant.read(in_hand.job.id)).job == in_hand.job


# updateJobItemResults


async def test_report_of_many_answers_each_in_the_order_given(
    tenant: Tenant, other_tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    first, second = await tenant.job(items=2), await tenant.job(items=1, succeeded=1)
    [foreign] = (await other_tenant.job(items=1)).items
    replayed = second.items[0]

    answer = await robot.do(
        REPORT_MANY,
        results=[
            {"itemId": str(first.items[1].id), "status": "SUCCESS", "trackingNumber": "P-1"},
            {"itemId": "no id", "status": "SUCCESS"},
            {"itemId": str(foreign.id), "status": "SUCCESS"},
            {"itemId": str(first.items[0].id), "status": "SUCCESS", "trackingNumber": "x" * 201},
            {"itemId": str(replayed.id), "status": "SUCCESS", "trackingNumber": replayed.tracking_number},
            {"itemId": str(replayed.id), "status": "SUCCESS", "trackingNumber": "P-2"},
            {"itemId": str(first.items[0].id), "status": "SUCCESS", "attempt": 1, "leaseToken": str(new_id())},
            {"itemId": str(first.items[0].id), "status": "ERROR", "attempt": 1},
        ],
    )

    assert answer["__typename"] == "UpdateJobItemResultsSuccess"
    assert [each["__typename"] for each in answer["results"]] == [
        "UpdateJobItemResultSuccess",
        "InvalidInput",
        "RobotJobItemNotFound",
        "InvalidInput",
        "UpdateJobItemResultSuccess",
        "ResultConflict",
        "LeaseLost",
        "UpdateJobItemResultSuccess",
    ]
    assert answer["results"][0] == {
        "__typename": "UpdateJobItemResultSuccess",
        "item": {"id": str(first.items[1].id), "status": "SUCCESS", "trackingNumber": "P-1"},
        "job": {"id": str(first.job.id), "successCount": 1},
        "replayed": False,
    }
    paths = [each["problems"][0]["path"] for each in answer["results"] if "problems" in each]
    assert paths == ["results.1.itemId", "results.3.trackingNumber"]
    assert answer["results"][4]["replayed"] is True
    assert wakeups.announced == [first.job.id, tenant.workspace_id], "once for each job that changed"


async def test_five_hundred_reports_fit_in_one_call(tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=500)

    answer = await robot.do(
        REPORT_MANY, results=[{"itemId": str(item.id), "status": "SUCCESS"} for item in in_hand.items]
    )

    assert [each["item"]["id"] for each in answer["results"]] == [str(item.id) for item in in_hand.items]
    assert (await tenant.read(in_hand.job.id)).job.success_count == 500


async def test_robot_and_steps_are_reported_and_shown_with_the_attempt(tenant: Tenant, robot: Caller) -> None:
    [first, second] = (await tenant.job(items=2)).items
    login = {"name": "log in", "startedAt": "2026-11-22T08:00:00-05:00", "durationMs": 1_250, "note": None}
    reported = {"itemId": str(first.id), "status": "ERROR", "robot": "sandbox 1.4.2", "steps": [login]}

    answer = await robot.do(
        REPORT_MANY, results=[reported, {**reported, "itemId": str(second.id), "steps": [{**login, "name": " "}]}]
    )

    assert [each["__typename"] for each in answer["results"]] == ["UpdateJobItemResultSuccess", "InvalidInput"]
    assert answer["results"][1]["problems"][0]["path"] == "results.1.steps.0.name"
    document = """query ($id: ID!) { robotJobItem(id: $id) {
        attempts { robot steps { name startedAt durationMs note } } } }"""
    shown = await robot.ask(document, id=str(first.id))
    assert shown["robotJobItem"]["attempts"] == [
        {"robot": "sandbox 1.4.2", "steps": [{**login, "startedAt": "2026-11-22T13:00:00+00:00"}]}
    ]


# updateJobStatus


async def test_a_job_is_taken_up(tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=1)

    answer = await robot.do(SET_STATUS, jobId=str(in_hand.job.id), status="PROCESSING")

    assert answer["__typename"] == "UpdateJobStatusSuccess"
    assert answer["job"]["status"] == "PROCESSING"


async def test_failing_a_job_closes_what_is_open_as_errors(tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=3, succeeded=1)

    answer = await robot.do(
        SET_STATUS, jobId=str(in_hand.job.id), status="FAILED", error="No network.", errorType="TIMEOUT"
    )

    assert answer["job"] == {
        "id": str(in_hand.job.id),
        "status": "FAILED",
        "error": "No network.",
        "errorCount": 2,
        "cancelledCount": 0,
    }
    after = (await tenant.read(in_hand.job.id)).items
    assert [item.error_type for item in after] == [None, ErrorType.TIMEOUT, ErrorType.TIMEOUT]


async def test_cancelling_a_job_closes_what_is_open_as_cancelled(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=3, failed=1)

    answer = await operator.do(SET_STATUS, jobId=str(in_hand.job.id), status="CANCELLED")

    assert (answer["job"]["status"], answer["job"]["errorCount"], answer["job"]["cancelledCount"]) == (
        "CANCELLED",
        1,
        2,
    )


async def test_a_status_for_a_job_that_is_not_there(robot: Caller) -> None:
    answer = await robot.do(SET_STATUS, jobId=str(new_id()), status="CANCELLED")

    assert (answer["__typename"], answer["code"]) == ("RobotJobNotFound", "ROBOT_JOB_NOT_FOUND")


async def test_a_status_that_a_job_cannot_take_names_the_one_it_has(tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=1, succeeded=1)

    answer = await robot.do(SET_STATUS, jobId=str(in_hand.job.id), status="CANCELLED")

    assert (answer["__typename"], answer["code"]) == ("InvalidTransition", "INVALID_TRANSITION")
    assert answer["job"] == {"id": str(in_hand.job.id), "status": "COMPLETED"}
    assert "completed" in answer["message"]


@pytest.mark.parametrize("status", ["PENDING", "COMPLETED"])
async def test_a_status_that_no_job_can_be_set_to_does_not_fit_the_schema(
    tenant: Tenant, robot: Caller, status: str
) -> None:
    in_hand = await tenant.job(items=1)

    code = await robot.code(SET_STATUS, input={"jobId": str(in_hand.job.id), "status": status})

    assert code == "GRAPHQL_VALIDATION_FAILED"
    assert (await tenant.read(in_hand.job.id)).job == in_hand.job


async def test_a_status_with_too_long_a_reason_is_invalid(tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=1)

    answer = await robot.do(SET_STATUS, jobId=str(in_hand.job.id), status="FAILED", error="x" * 2_001)

    assert (answer["__typename"], answer["code"]) == ("InvalidInput", "INVALID_INPUT")
    assert (await tenant.read(in_hand.job.id)).job == in_hand.job


# retryFailedItems


async def test_retry_gives_every_failed_item_a_new_attempt(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=3, succeeded=1, failed=2)

    answer = await operator.do(RETRY, jobId=str(in_hand.job.id))

    assert answer["__typename"] == "RetryFailedItemsSuccess"
    assert answer["job"] == {"id": str(in_hand.job.id), "status": "PENDING", "errorCount": 0}
    assert answer["skipped"] == []
    assert answer["items"] == [
        {
            "id": str(item.id),
            "status": "PENDING",
            "attempt": 2,
            "retryCount": 1,
            "errorType": None,
            "errorMessage": None,
        }
        for item in in_hand.items[1:]
    ]


async def test_retry_of_named_items_leaves_the_others(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=2, failed=2)
    chosen = str(in_hand.items[1].id)

    answer = await operator.do(RETRY, jobId=str(in_hand.job.id), itemIds=[chosen])

    assert [item["id"] for item in answer["items"]] == [chosen]
    assert answer["job"]["errorCount"] == 1


async def test_retry_skips_what_must_not_be_tried_again_and_says_why(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=2, failed=1)
    unsettled = in_hand.items[1]
    await tenant.fail(unsettled, error_type=ErrorType.TIMEOUT)
    async with tenant.work() as connection:
        await connection.execute(
            sa.update(robot_job_items).where(robot_job_items.c.id == unsettled.id).values(outcome_unknown=True)
        )

    answer = await operator.do(RETRY, jobId=str(in_hand.job.id))

    assert [item["id"] for item in answer["items"]] == [str(in_hand.items[0].id)]
    (skipped,) = answer["skipped"]
    assert (skipped["itemId"], skipped["status"]) == (str(unsettled.id), "ERROR")
    assert "outcome" in skipped["message"]


async def test_retry_by_name_of_what_has_not_failed_is_refused_as_a_whole(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=2, succeeded=1, failed=1)
    succeeded, failed = (str(item.id) for item in in_hand.items)
    unknown = str(new_id())

    answer = await operator.do(RETRY, jobId=str(in_hand.job.id), itemIds=[failed, succeeded, unknown])

    assert (answer["__typename"], answer["code"]) == ("ItemsNotRetryable", "ITEMS_NOT_RETRYABLE")
    assert {item["itemId"]: item["status"] for item in answer["refused"]} == {unknown: None, succeeded: "SUCCESS"}
    assert answer["job"] == {"id": str(in_hand.job.id), "status": "COMPLETED"}
    assert await tenant.read(in_hand.job.id) == in_hand


async def test_retry_where_nothing_failed_is_refused(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=1)

    answer = await operator.do(RETRY, jobId=str(in_hand.job.id))

    assert (answer["code"], answer["refused"]) == ("ITEMS_NOT_RETRYABLE", [])


async def test_retry_while_another_job_holds_the_key_names_that_job(tenant: Tenant, operator: Caller) -> None:
    finished = await tenant.job(items=1, failed=1, idempotency_key="monday")
    holder = await tenant.job(items=1, idempotency_key="monday")

    answer = await operator.do(RETRY, jobId=str(finished.job.id))

    assert (answer["__typename"], answer["code"]) == ("IdempotencyKeyInUse", "IDEMPOTENCY_KEY_IN_USE")
    assert answer["job"] == {"id": str(holder.job.id), "status": "PENDING"}
    assert await tenant.read(finished.job.id) == finished


async def test_retry_of_a_cancelled_job_is_no_transition(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=2, failed=1)
    await operator.do(SET_STATUS, jobId=str(in_hand.job.id), status="CANCELLED")

    answer = await operator.do(RETRY, jobId=str(in_hand.job.id))

    assert (answer["__typename"], answer["code"]) == ("InvalidTransition", "INVALID_TRANSITION")
    assert answer["job"]["status"] == "CANCELLED"


async def test_retry_in_a_job_that_is_not_there(operator: Caller) -> None:
    answer = await operator.do(RETRY, jobId=str(new_id()))

    assert (answer["__typename"], answer["code"]) == ("RobotJobNotFound", "ROBOT_JOB_NOT_FOUND")


async def test_retry_of_an_empty_list_is_invalid(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=1, failed=1)

    answer: dict[str, Any] = await operator.do(RETRY, jobId=str(in_hand.job.id), itemIds=[])

    assert (answer["__typename"], answer["code"]) == ("InvalidInput", "INVALID_INPUT")
    assert await tenant.read(in_hand.job.id) == in_hand
