"""Accounts that robots leave alone: when, until when, and how a single item shows that all is well again."""

import datetime as dt

import pytest

from domain.accounts import AccountNotPaused, Breaker, PauseReason, find_account_pauses, resume_carrier_account
from domain.carriers import Carrier
from domain.robot_jobs import ErrorType, HeldBack, ReleaseReason, ReleaseState
from domain.workspaces import Role
from tests.domain.secrets import upsert
from tests.tenants import Tenant

SOON = Breaker(errors=3, probe_after_s=0.001)


async def pause_of(tenant: Tenant) -> tuple[PauseReason, str, dt.timedelta | None] | None:
    """Why, what was said, and how long from its beginning to the next probe."""
    async with tenant.work() as connection:
        found = (await find_account_pauses(connection, [Carrier.COORDINADORA])).get(Carrier.COORDINADORA)
    if found is None:
        return None
    return found.reason, found.message, found.probe_at - found.since if found.probe_at else None


async def test_a_refused_login_pauses_the_account_until_somebody_has_looked(tenant: Tenant) -> None:
    await tenant.job(items=2)
    [item] = (await tenant.claim()).items

    states = await tenant.release(item, reason=ReleaseReason.LOGIN_REFUSED, message="Clave incorrecta.", breaker=SOON)

    assert states == [ReleaseState.RELEASED]
    assert await pause_of(tenant) == (PauseReason.LOGIN_REFUSED, "Clave incorrecta.", None)
    again = await tenant.claim()
    assert (again.items, again.held_back) == ([], HeldBack.ACCOUNT_PAUSED)


async def test_a_refused_login_is_told_also_by_a_robot_that_lost_its_lease_over_it(tenant: Tenant) -> None:
    await tenant.job()
    [item] = (await tenant.claim()).items
    await tenant.run_out(item)
    await tenant.sweep()

    assert await tenant.release(item, reason=ReleaseReason.LOGIN_REFUSED) == [ReleaseState.LOST]

    assert await pause_of(tenant) == (PauseReason.LOGIN_REFUSED, "The portal refused the login.", None)


async def test_a_changed_login_is_tried_with_a_single_item_and_a_success_ends_the_pause(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=5)
    await tenant.job(items=3)
    [item] = (await tenant.claim()).items
    await tenant.release(item, reason=ReleaseReason.LOGIN_REFUSED)

    await tenant.configure(username="another")

    probe = await tenant.claim(3)
    assert (len(probe.items), probe.held_back) == (1, HeldBack.ACCOUNT_PAUSED)
    assert (await tenant.claim(3)).items == []
    await tenant.succeed(probe.items[0])
    assert await pause_of(tenant) is None
    assert len((await tenant.claim(3)).items) == 2


async def test_what_an_older_session_still_did_does_not_end_a_refused_login(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=2)
    await tenant.job(items=2)
    refused, other = (await tenant.claim(2)).items
    await tenant.release(refused, reason=ReleaseReason.LOGIN_REFUSED)

    await tenant.succeed(other)

    again = await tenant.claim()
    assert (again.items, again.held_back) == ([], HeldBack.ACCOUNT_PAUSED)


async def test_a_second_refusal_waits_again_for_somebody_to_look(tenant: Tenant) -> None:
    await tenant.job()
    for _ in range(2):
        async with tenant.work(Role.OPERATOR) as connection:
            if await pause_of(tenant):
                await resume_carrier_account(connection, Carrier.COORDINADORA)
        [item] = (await tenant.claim()).items
        await tenant.release(item, reason=ReleaseReason.LOGIN_REFUSED)

    again = await tenant.claim()
    assert (again.items, again.held_back) == ([], HeldBack.ACCOUNT_PAUSED)
    assert item.attempt == 1, "nothing was tried, so nothing was used up"


async def test_a_probe_that_nobody_finished_is_not_repeated_by_itself_after_a_refused_login(tenant: Tenant) -> None:
    await tenant.job()
    [item] = (await tenant.claim()).items
    await tenant.release(item, reason=ReleaseReason.LOGIN_REFUSED)
    await tenant.configure(username="another")
    [probe] = (await tenant.claim(breaker=SOON)).items
    await tenant.run_out(probe)
    await tenant.sweep()

    again = await tenant.claim()
    assert (again.items, again.held_back) == ([], HeldBack.ACCOUNT_PAUSED)


async def test_a_probe_that_is_given_back_untried_is_given_out_again(tenant: Tenant) -> None:
    await tenant.job()
    [item] = (await tenant.claim()).items
    await tenant.release(item, reason=ReleaseReason.LOGIN_REFUSED)
    await tenant.configure(username="another")
    [probe] = (await tenant.claim()).items

    await tenant.release(probe, reason=ReleaseReason.STOPPING)

    assert len((await tenant.claim()).items) == 1


@pytest.mark.parametrize("count", [2, 3])
async def test_an_outage_pauses_the_account_after_so_many_in_a_row(tenant: Tenant, count: int) -> None:
    await tenant.job()
    for _ in range(count):
        [item] = (await tenant.claim()).items
        await tenant.release(item, reason=ReleaseReason.PORTAL_UNAVAILABLE, message="503")

    found = await pause_of(tenant)
    if count < 3:
        assert found is None
        return
    assert found is not None
    assert found[:2] == (PauseReason.PORTAL_ERRORS, "503")
    assert found[2] is not None
    assert dt.timedelta(seconds=29) < found[2] < dt.timedelta(seconds=31)
    again = await tenant.claim()
    assert (again.items, again.held_back) == ([], HeldBack.ACCOUNT_PAUSED)
    assert (await tenant.item(item)).attempt == 1, "an outage uses up no attempts"


async def test_portal_errors_count_as_results_and_a_validation_error_shows_that_the_portal_works(
    tenant: Tenant,
) -> None:
    await tenant.job(items=6)
    for error_type in (ErrorType.PORTAL, ErrorType.TIMEOUT, ErrorType.VALIDATION, ErrorType.PORTAL, ErrorType.PORTAL):
        assert await pause_of(tenant) is None
        [item] = (await tenant.claim()).items
        await tenant.fail(item, error_type=error_type)
    assert await pause_of(tenant) is None

    [item] = (await tenant.claim()).items
    await tenant.fail(item, message="Error interno.")

    found = await pause_of(tenant)
    assert found is not None
    assert found[:2] == (PauseReason.PORTAL_ERRORS, "Error interno.")


@pytest.mark.parametrize("count", [2, 3])
async def test_robots_that_fall_silent_over_an_account_pause_it(tenant: Tenant, count: int) -> None:
    await tenant.job()
    for _ in range(count):
        [item] = (await tenant.claim()).items
        await tenant.run_out(item)
        await tenant.sweep(breaker=Breaker(errors=3, probe_after_s=60))

    found = await pause_of(tenant)
    if count < 3:
        assert found is None
        return
    assert found is not None
    assert found[:2] == (PauseReason.PORTAL_ERRORS, "Robots fell silent before they had submitted anything.")
    assert found[2] is not None
    assert dt.timedelta(seconds=59) < found[2] < dt.timedelta(seconds=61)


async def test_a_robot_that_held_several_items_dies_once(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=5)
    await tenant.job()
    one, two = (await tenant.claim(2, robot="one")).items
    [other] = (await tenant.claim(robot="other")).items

    await tenant.run_out(one, two, other)
    assert (await tenant.sweep(breaker=Breaker(errors=3))).requeued == 3

    assert await pause_of(tenant) is None


async def test_who_fell_silent_after_the_button_has_met_no_error_of_the_portal(tenant: Tenant) -> None:
    await tenant.job()
    [item] = (await tenant.claim()).items
    await tenant.mark(item)
    await tenant.run_out(item)

    await tenant.sweep(breaker=Breaker(errors=1))

    assert await pause_of(tenant) is None


async def test_what_was_begun_before_does_not_put_off_the_probe_that_somebody_asked_for(tenant: Tenant) -> None:
    breaker = Breaker(errors=1, probe_after_s=600)
    await tenant.job()
    [item] = (await tenant.claim(breaker=breaker)).items
    await tenant.release(item, reason=ReleaseReason.PORTAL_UNAVAILABLE, breaker=breaker)
    await tenant.make_probe_due()
    [probe] = (await tenant.claim(breaker=breaker)).items
    await tenant.run_out(probe)
    async with tenant.work() as connection:
        await resume_carrier_account(connection, Carrier.COORDINADORA)

    await tenant.sweep(breaker=breaker)

    assert len((await tenant.claim(breaker=breaker)).items) == 1


async def test_probes_are_ever_rarer(tenant: Tenant) -> None:
    breaker = Breaker(errors=1, probe_after_s=10)
    await tenant.job()
    waits = []
    for _ in range(8):
        [item] = (await tenant.claim(breaker=breaker)).items
        await tenant.release(item, reason=ReleaseReason.PORTAL_UNAVAILABLE, breaker=breaker)
        waits.append(await tenant.make_probe_due())

    assert [round(wait) for wait in waits] == [10, 20, 40, 80, 160, 320, 320, 320]


async def test_only_one_probe_at_a_time(tenant: Tenant) -> None:
    breaker = Breaker(errors=1, probe_after_s=0.001)
    await tenant.configure(max_concurrent_leases=5)
    await tenant.job(items=3)
    [item] = (await tenant.claim()).items
    await tenant.release(item, reason=ReleaseReason.PORTAL_UNAVAILABLE, breaker=breaker)
    await tenant.make_probe_due()

    first, second = await tenant.claim(5, breaker=breaker), await tenant.claim(5, breaker=breaker)

    assert (len(first.items), len(second.items)) == (1, 0)


async def test_a_login_that_was_set_or_changed_is_tried_once_however_many_may_work_at_once(tenant: Tenant) -> None:
    await tenant.job(items=4)
    for password in ("first", "second"):
        await upsert(tenant, username="shop", password=password, max_concurrent_leases=5)
        first, others = await tenant.claim(2), await tenant.claim(2)
        assert (len(first.items), len(others.items), others.held_back) == (1, 0, HeldBack.ACCOUNT_BUSY)

        await tenant.succeed(first.items[0])

        released = (await tenant.claim(2)).items
        assert len(released) == 2
        await tenant.release(*released)


async def test_nothing_is_resumed_that_does_not_pause(tenant: Tenant) -> None:
    async with tenant.work(Role.OPERATOR) as connection:
        with pytest.raises(AccountNotPaused):
            await resume_carrier_account(connection, Carrier.COORDINADORA)


async def test_another_workspace_is_not_paused(tenant: Tenant, other_tenant: Tenant) -> None:
    for each in (tenant, other_tenant):
        await each.job()
    [item] = (await tenant.claim()).items

    await tenant.release(item, reason=ReleaseReason.LOGIN_REFUSED)

    assert await pause_of(other_tenant) is None
    assert len((await other_tenant.claim()).items) == 1
