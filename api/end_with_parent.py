"""For a process that is to end with the one that started it, however that one ends: killed with kill -9, too.

Its standard input is a pipe that the parent holds and says nothing on; the kernel closes it with the parent.
"""

import os
import signal
import threading
import time

STOPS_WITHIN_S = 5.0


def end_with_parent() -> None:
    """From now on: once standard input ends, stop as told by SIGTERM, and be killed if that takes too long."""
    threading.Thread(target=_watch, name="end-with-parent", daemon=True).start()


def _watch() -> None:
    while os.read(0, 1_024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOPS_WITHIN_S)
    os.kill(os.getpid(), signal.SIGKILL)
