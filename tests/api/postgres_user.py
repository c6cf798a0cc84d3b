"""A process that uses the embedded PostgreSQL, forked from one that has imported all that takes long."""

import os
import resource
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from api.embedded_postgres import EmbeddedPostgresError, start_embedded_postgres


def use(
    answers: Connection, home: Path, settings: dict[str, str], umask: int | None, limit_file_size: int | None
) -> None:
    """Start the server, and once more for each thing that is sent; until the other end is closed, or for ever."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    os.environ |= {"PGPORT": "1", "PGDATA": "/nowhere"}
    if umask is not None:
        os.umask(umask)
    if limit_file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_file_size, limit_file_size))
    while True:
        try:
            answers.send(start_embedded_postgres(home, settings=settings))
        except EmbeddedPostgresError as error:
            answers.send(str(error))
        try:
            answers.recv()
        except EOFError:
            return
