"""Puts a robot together, runs it until a signal or the end of its work, and says how it ended."""

import asyncio
import importlib.metadata
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from clients.robot.api import RobotApi
from clients.robot.carrier import CarrierUnusable
from clients.robot.carriers import load_carrier
from clients.robot.delivery import Delivery
from clients.robot.desk import Desk
from clients.robot.giving_back import GivingBack
from clients.robot.journal import Journal, JournalInUse, JournalUnusable, open_journal
from clients.robot.leases import Lease, LeaseSet
from clients.robot.logs import Log, Secrets, set_up_logs
from clients.robot.looking_up import LookUps
from clients.robot.metrics import Metrics
from clients.robot.options import RobotOptions
from clients.robot.progress import progress_console, restore_terminal, show_progress
from clients.robot.reports import Reporter
from clients.robot.robot import Parts, Robot
from clients.robot.shipping import Shipper
from clients.robot.transport import ApiRefused, ApiUnreachable, KeyRefused, Transport

if TYPE_CHECKING:
    from rich.live import Live

    from clients.robot.carrier import Carrier

EXIT_CUT_SHORT = 1
EXIT_UNUSABLE = 2
EXIT_HELD_BACK = 3


class RobotUnable(Exception):
    """It cannot start, or cannot go on.  One line for people."""


def run_robot(options: RobotOptions) -> int:
    """The exit code.  Raises RobotUnable, UnknownCarrier."""
    carrier_class = load_carrier(options.carrier)
    try:
        carrier_class.check(options.carrier_settings)
    except CarrierUnusable as error:
        raise RobotUnable(str(error)) from error
    secrets = Secrets()
    secrets.add(options.key)
    with progress_console(is_wanted=options.shows_progress) as shown:
        set_up_logs(options.log_format, secrets, level=options.log_level, write=shown[0] if shown else None)
        try:
            with open_journal(options.folder) as journal:
                return asyncio.run(_run(options, carrier_class, journal, secrets, shown[1] if shown else None))
        except (JournalInUse, JournalUnusable, KeyRefused, CarrierUnusable) as error:
            raise RobotUnable(secrets.hide(str(error))) from error
        except RobotUnable:
            raise
        except Exception as error:  # its traceback is in the log, without secrets
            raise RobotUnable(secrets.hide(f"a defect ended it: {type(error).__name__}: {error}")) from None


async def _run(
    options: RobotOptions, carrier_class: "type[Carrier]", journal: Journal, secrets: Secrets, live: "Live | None"
) -> int:
    log, stopping, metrics = Log(robot=options.name), asyncio.Event(), Metrics()
    _obey_signals(stopping, log)
    if options.metrics_port is not None:
        try:
            log.info("metrics_served", port=metrics.serve(options.metrics_port, options.metrics_host))
        except OSError as error:
            raise RobotUnable(f"cannot serve metrics on port {options.metrics_port}: {error.strerror}") from error
    async with assembled_robot(options, carrier_class, journal, secrets, metrics, log, stopping) as robot:
        showing = asyncio.create_task(show_progress(live, robot.counts)) if live is not None else None
        log.info("started", carrier=options.carrier, folder=str(options.folder), version=_version())
        try:
            await robot.run()
        finally:
            if showing is not None:
                showing.cancel()
                await asyncio.gather(showing, return_exceptions=True)
    log.info("stopped", **dict(metrics.outcomes))
    return EXIT_HELD_BACK if robot.was_held_back else 0


@asynccontextmanager
async def assembled_robot(
    options: RobotOptions,
    carrier_class: "type[Carrier]",
    journal: Journal,
    secrets: Secrets,
    metrics: Metrics,
    log: Log,
    stopping: asyncio.Event,
) -> AsyncIterator[Robot]:
    """A robot that is ready to run, connected until the block ends."""
    transport = Transport(options.url, options.key, log=log, stopping=stopping, count_error=metrics.count_api_error)
    async with transport:
        yield Robot(options, _parts(options, carrier_class, journal, secrets, transport, metrics, log), log, stopping)


def _parts(
    options: RobotOptions,
    carrier_class: "type[Carrier]",
    journal: Journal,
    secrets: Secrets,
    transport: Transport,
    metrics: Metrics,
    log: Log,
) -> Parts:
    api = RobotApi(transport, carrier_class.name, workspace_id=options.workspace_id)
    reporter = Reporter(f"{options.name} {_version()}", secrets.hide)
    desk = Desk(carrier_class, options.carrier_settings, journal, secrets, log)
    delivery = Delivery(api, journal, log, count=metrics.count_result)

    async def renew(leases: Sequence[Lease], within_s: float) -> None:
        try:
            await api.renew(leases, within_s)
        except (ApiUnreachable, ApiRefused) as error:
            log.warning("not_renewed", leases=len(leases), message=str(error))

    return Parts(
        api=api,
        journal=journal,
        desk=desk,
        leases=LeaseSet(renew),
        shipper=Shipper(api, journal, desk, reporter, log, observe_step=metrics.observe_step),
        look_ups=LookUps(api, journal, desk, reporter, log, options.carrier_settings),
        delivery=delivery,
        giving_back=GivingBack(api, journal, desk, reporter, log, has_result=delivery.wake),
        metrics=metrics,
    )


def _obey_signals(stopping: asyncio.Event, log: Log) -> None:
    """The first finishes what is in hand; the second ends at once, and what is on the disk stays there."""

    def stop(number: int) -> None:
        name = signal.Signals(number).name
        if stopping.is_set():
            log.warning("stopped_at_once", signal=name)
            restore_terminal()
            os._exit(EXIT_CUT_SHORT)
        log.info("stopping", signal=name)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)


def _version() -> str:
    try:
        return importlib.metadata.version("robot-jobs")
    except importlib.metadata.PackageNotFoundError:
        return "0"
