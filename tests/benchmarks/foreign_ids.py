"""Does the time of an answer tell a foreign id from a missing one?  Both are asked in turns, of a real server."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from domain.base import new_id
from domain.workspaces import Role
from tests.schema.foreign_ids import ID_OPERATIONS

SAMPLES = 200


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians in seconds; `z` is of the rank-sum test: beyond 3.3 in either direction is no chance (1 in 1,000)."""

    path: str
    foreign_s: float
    missing_s: float
    z: float


async def compare(
    client: httpx.AsyncClient, headers: Mapping[Role, dict[str, str]], foreign: dict[str, str], own_job: str
) -> list[Comparison]:
    """Every operation of HTTP that takes an id; `headers` by role, `foreign` by kind."""
    compared = []
    for path, operation in ID_OPERATIONS.items():
        if operation.is_subscription:
            continue

        async def time_of(asked: str, operation: Any = operation) -> float:
            body = {"query": operation.document, "variables": operation.variables(asked, own_job)}
            start = time.perf_counter()
            answer = await client.post("/graphql", json=body, headers=headers[operation.role])
            elapsed = time.perf_counter() - start
            answer.raise_for_status()
            return elapsed

        times: dict[bool, list[float]] = {True: [], False: []}
        for number in range(2 * SAMPLES + 20):
            is_foreign = number % 2 == 0
            elapsed = await time_of(foreign[operation.kind] if is_foreign else str(new_id()))
            if number >= 20:  # the first ones warm up
                times[is_foreign].append(elapsed)
        compared.append(
            Comparison(
                path,
                statistics.median(times[True]),
                statistics.median(times[False]),
                rank_sum_z(times[True], times[False]),
            )
        )
    return compared


def rank_sum_z(first: Sequence[float], second: Sequence[float]) -> float:
    """How far the ranks of `first` among all are from chance, in standard deviations."""
    ranked = sorted([(value, True) for value in first] + [(value, False) for value in second])
    ranks = sum(rank for rank, (_, is_first) in enumerate(ranked, 1) if is_first)
    n, m = len(first), len(second)
    return (ranks - n * (n + m + 1) / 2) / math.sqrt(n * m * (n + m + 1) / 12)
