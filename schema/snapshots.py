"""The transaction that the reads of one operation share."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from typing import Any, TypeVar, cast

import sqlalchemy.exc
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import DomainError

T = TypeVar("T")
Step = Callable[[AsyncConnection], Awaitable[T]]
Begin = Callable[[Step[Any]], AbstractAsyncContextManager[tuple[AsyncConnection, Any]]]


class Snapshot:
    """Begun by the first step that is wanted, and used by one at a time: `lock` is held meanwhile."""

    def __init__(self, begin: Begin) -> None:
        self.lock = asyncio.Lock()
        self._begin = begin
        self._stack = AsyncExitStack()
        self._connection: AsyncConnection | None = None
        self._made: dict[Step[Any], Any] = {}
        self._refusal: Exception | None = None

    async def get(self, step: Step[T]) -> T:
        """What the step gives, made at most once.

        What keeps it from being made keeps all others from it as well, without a new wait.
        """
        if step not in self._made:
            try:
                self._made[step] = await self._make(step)
            except Exception as refusal:
                self._made[step] = refusal
                raise
        if isinstance(self._made[step], Exception):
            raise self._made[step]
        return cast(T, self._made[step])

    async def _make(self, step: Step[T]) -> T:
        if self._refusal is not None:
            raise self._refusal
        if self._connection is not None:
            return await step(self._connection)
        try:
            self._connection, made = await self._stack.enter_async_context(self._begin(step))
        except DomainError:  # of that step alone
            raise
        except Exception as refusal:
            self._refusal = refusal
            raise
        return cast(T, made)

    async def end(self) -> None:
        """One field's error can end the operation while others still read: the running one finishes, no more begin.

        Nothing was written, so that the transaction ends badly then does not hide that error.
        """
        async with self.lock:
            self._made.clear()
            self._refusal = RuntimeError("the operation is over")
            self._connection = None
            with suppress(sqlalchemy.exc.SQLAlchemyError):
                await self._stack.aclose()
