"""What a robot counts: for the progress line, and for Prometheus."""

import time
from collections import Counter
from typing import Any

import prometheus_client

_STEP_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120)
_LOOKED_UP = {"success": "found", "error": "absent", "unknown": "not_settled"}


class Metrics:
    """One registry for each robot of a process.  docs/operations.md lists the names."""

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        self.outcomes: Counter[str] = Counter()
        """Of the items that this process worked on."""
        options: dict[str, Any] = {"namespace": "robot_jobs", "subsystem": "robot", "registry": self.registry}
        self._items = prometheus_client.Counter("items", "Items worked on, by how it ended.", ["outcome"], **options)
        self._look_ups = prometheus_client.Counter(
            "look_ups", "Unknown outcomes looked up, by what came of it.", ["outcome"], **options
        )
        self._steps = prometheus_client.Histogram(
            "step_seconds", "How long a step of an item took.", ["step"], buckets=_STEP_BUCKETS, **options
        )
        self._claims = prometheus_client.Counter(
            "claims", "Claims, by what they brought.", ["purpose", "brought"], **options
        )
        self._api_errors = prometheus_client.Counter("api_errors", "Calls that got no answer.", ["kind"], **options)
        self._results = prometheus_client.Counter(
            "results", "Results, by how they were answered.", ["answer"], **options
        )
        self._queue = prometheus_client.Gauge("queued_results", "Results that wait on the disk.", **options)
        self._in_hand = prometheus_client.Gauge("items_in_hand", "Items under a lease of this robot.", **options)
        self._last_success = prometheus_client.Gauge(
            "last_success_timestamp_seconds", "When an item last succeeded, 0 before the first.", **options
        )

    def count_item(self, outcome: str) -> None:
        self.outcomes[outcome] += 1
        self._items.labels(outcome).inc()
        if outcome == "success":
            self._last_success.set(time.time())

    def count_look_up(self, outcome: str) -> None:
        self._look_ups.labels(_LOOKED_UP.get(outcome, outcome)).inc()

    def observe_step(self, step: str, seconds: float) -> None:
        self._steps.labels(step).observe(seconds)

    def count_claim(self, purpose: str, brought: str) -> None:
        self._claims.labels(purpose.lower(), brought.lower()).inc()

    def count_api_error(self, kind: str) -> None:
        self._api_errors.labels(kind).inc()

    def count_result(self, answer: str) -> None:
        self._results.labels(answer).inc()

    def set_queued(self, results: int) -> None:
        self._queue.set(results)

    def set_in_hand(self, items: int) -> None:
        self._in_hand.set(items)

    def serve(self, port: int, host: str) -> int:
        """In a thread of its own; the port.  Raises OSError."""
        server, _ = prometheus_client.start_http_server(port, host, registry=self.registry)
        return int(server.server_port)
