"""A look before the leap: previews of orders and checks of cities."""

import datetime as dt

from domain.base import new_id
from domain.orders import update_order
from tests.schema.caller import Caller
from tests.schema.documents import PREVIEW, VALIDATE
from tests.tenants import Tenant


async def test_a_preview_says_of_each_order_what_would_become_of_it(tenant: Tenant, operator: Caller) -> None:
    (good,) = await tenant.orders(1)
    (corrected,) = await tenant.orders(1, city="Medelin")
    (nowhere,) = await tenant.orders(1, city="Atlantis")
    taken = await tenant.job(items=1)
    (archived,) = await tenant.orders(1)
    async with tenant.work() as connection:
        await update_order(connection, archived.id, {"archived_at": dt.datetime.now(dt.UTC), "recipient_phone": "12"})
    missing = str(new_id())
    asked = [str(each) for each in (nowhere.id, good.id, taken.items[0].order_id, corrected.id, archived.id, good.id)]

    preview = (await operator.ask(PREVIEW, input={"carrier": "COORDINADORA", "orderIds": [*asked, missing]}))[
        "previewDispatch"
    ]

    assert (preview["okCount"], preview["warningCount"], preview["rejectedCount"]) == (1, 1, 3)
    assert preview["missingOrderIds"] == [missing]
    assert [
        (
            each["order"]["id"],
            each["outcome"],
            each["carrierCity"],
            [(problem["code"], problem["isWarning"]) for problem in each["problems"]],
        )
        for each in preview["orders"]
    ] == [
        (asked[0], "REJECTED", None, [("CITY_NOT_COVERED", False)]),
        (asked[1], "OK", "MEDELLIN (ANT)", []),
        (asked[2], "REJECTED", "MEDELLIN (ANT)", [("IN_OPEN_JOB", False)]),
        (asked[3], "WARNING", "MEDELLIN (ANT)", [("MISSPELLED_CITY", True)]),
        (asked[4], "REJECTED", "MEDELLIN (ANT)", [("PHONE_INVALID", False), ("ARCHIVED", False)]),
    ]


async def test_a_preview_of_nothing_is_invalid(operator: Caller) -> None:
    assert await operator.code(PREVIEW, input={"carrier": "COORDINADORA", "orderIds": []}) == "INVALID_INPUT"


async def test_cities_are_answered_in_the_order_asked(operator: Caller) -> None:
    asked = [
        ("a", "medellin", "antioquia"),
        ("b", "Bogotá", ""),
        ("c", "Medelin", "Antioquia"),
        ("a", "Medellín", "Cundinamarca"),
    ]

    answer = await operator.ask(
        VALIDATE,
        input={
            "carrier": "COORDINADORA",
            "cities": [
                {"reference": reference, "city": city, "department": department, "isCod": True}
                for reference, city, department in asked
            ],
        },
    )

    results = answer["validateCities"]["results"]
    assert [(each["reference"], each["outcome"], each["carrierCity"], each["problem"]) for each in results] == [
        ("a", "OK", "MEDELLIN (ANT)", None),
        ("b", "REJECTED", None, "DEPARTMENT_MISSING"),
        ("c", "WARNING", "MEDELLIN (ANT)", "MISSPELLED_CITY"),
        ("a", "REJECTED", None, "DEPARTMENT_MISMATCH"),
    ]
    assert results[0]["message"] is None
    assert all(each["message"] for each in results[1:])


async def test_a_check_of_no_cities_is_invalid(operator: Caller) -> None:
    assert await operator.code(VALIDATE, input={"carrier": "COORDINADORA", "cities": []}) == "INVALID_INPUT"
