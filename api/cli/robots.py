"""A robot, and the portal to try it with."""

import gc
import logging
import os
import socket
import uuid
from pathlib import Path
from typing import Annotated

import typer

from api.end_with_parent import end_with_parent
from api.settings import SettingsError


def robot(
    carrier: Annotated[str, typer.Option(help="sandbox or coordinadora; or package.module:Class.")],
    portal_url: Annotated[str, typer.Option(help="The carrier's web site.")],
    url: Annotated[str, typer.Option(help="The API.")] = "http://127.0.0.1:8000/graphql",
    key: Annotated[
        str, typer.Option(envvar="ROBOT_JOBS_KEY", help="Better in the environment: `ps` shows options to everybody.")
    ] = "",
    name: Annotated[str, typer.Option(help="Told with results, and the name of its folder.")] = "robot",
    workspace: Annotated[uuid.UUID | None, typer.Option(help="Work for this one only.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="By default .robot-jobs/robots/<name>.")] = None,
    limit: Annotated[int, typer.Option(help="Items of one account in hand at once.")] = 1,
    lease_s: Annotated[int, typer.Option(help="How long items are its own unless it renews.")] = 120,
    stop_timeout: Annotated[float, typer.Option(min=0, help="Seconds for the item in hand at a stop.")] = 120,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when nothing is left to do.")] = False,
    answer_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until a page must have come.")] = 30,
    result_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds from the button to the dialog.")] = 60,
    pace: Annotated[float, typer.Option(min=0, help="Seconds between a result and the next form.")] = 0,
    absent_after: Annotated[
        float, typer.Option(min=0, help="Seconds after the button when a number not in the list is absent.")
    ] = 120,
    option: Annotated[list[str] | None, typer.Option(help="The carrier's own, name=value; may be repeated.")] = None,
    log: Annotated[str, typer.Option(help="json or text, on standard error.")] = "json",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    progress: Annotated[bool, typer.Option(help="A line of counts, on a terminal.")] = True,
    metrics_port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Serve Prometheus's metrics.")] = None,
    metrics_host: Annotated[str, typer.Option(help="Where.")] = "127.0.0.1",
    ends_with_stdin: Annotated[bool, typer.Option("--ends-with-stdin", hidden=True)] = False,
) -> None:
    """Ship what the API hands out, through a carrier's portal, until Ctrl-C or SIGTERM."""
    from clients.robot.carrier import CarrierSettings
    from clients.robot.carriers import UnknownCarrier
    from clients.robot.main import RobotUnable, run_robot
    from clients.robot.options import OptionsWrong, RobotOptions, read_carrier_options, read_log_format

    gc.enable()
    if ends_with_stdin:
        end_with_parent()
    try:
        options = RobotOptions(
            carrier=carrier,
            url=url,
            key=key,
            name=name,
            workspace_id=str(workspace) if workspace is not None else None,
            carrier_settings=CarrierSettings(
                url=portal_url,
                answer_timeout_s=answer_timeout,
                result_timeout_s=result_timeout,
                pace_s=pace,
                absent_after_s=absent_after,
                options=read_carrier_options(option or []),
            ),
            state_dir=state_dir,
            limit=limit,
            lease_s=lease_s,
            stop_timeout_s=stop_timeout,
            until_idle=until_idle,
            log_format=read_log_format(log),
            log_level=log_level,
            metrics_port=metrics_port,
            metrics_host=metrics_host,
            shows_progress=progress,
        )
        raise typer.Exit(run_robot(options))
    except (OptionsWrong, UnknownCarrier, RobotUnable) as error:
        raise SettingsError(str(error)) from error


def portal(
    host: Annotated[str, typer.Option(help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8090,
    file: Annotated[Path | None, typer.Option(help="Where parcels are kept; in memory by default.")] = None,
    accounts: Annotated[Path | None, typer.Option(help="JSON: passwords by account; null: none is right.")] = None,
    delay_ms: Annotated[str, typer.Option(help="Until the dialog; 7000-17000 is like a real one.")] = "300-900",
    guide_after_ms: Annotated[int, typer.Option(min=0, help="Until a parcel gets its guía.")] = 30_000,
    suggestions_ms: Annotated[int, typer.Option(min=0, help="Until cities are suggested.")] = 150,
    listener_fd: Annotated[int | None, typer.Option("--listener-fd", hidden=True)] = None,
    ends_with_stdin: Annotated[bool, typer.Option("--ends-with-stdin", hidden=True)] = False,
) -> None:
    """Serve the sandbox portal, a carrier's web site that ships nothing, until Ctrl-C or SIGTERM."""
    from clients.robot.sandbox_portal.server import serve_portal
    from clients.robot.sandbox_portal.settings import PortalSettings, read_passwords, read_range_s
    from clients.robot.sandbox_portal.store import StoreUnusable

    gc.enable()
    if ends_with_stdin:
        end_with_parent()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = PortalSettings(
            file=file,
            passwords=read_passwords(accounts) if accounts else {},
            dialog_delay_s=read_range_s(delay_ms),
            suggestions_delay_s=suggestions_ms / 1_000,
            guide_after_s=guide_after_ms / 1_000,
        )
        with socket.socket(fileno=listener_fd) if listener_fd is not None else _listener(host, port) as listener:
            serve_portal(settings, listener, lambda url: typer.echo(f"The sandbox portal listens on {url}/login"))
    except (ValueError, StoreUnusable) as error:
        raise SettingsError(str(error)) from error


def _listener(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = (
            os.strerror(error.errno) if error.errno and error.errno > 0 else error
        )  # a name that is none has no number
        raise SettingsError(f"cannot listen on {host}:{port}: {reason}") from error
