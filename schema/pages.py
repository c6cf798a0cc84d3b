"""Relay connections over the domain's keyset pages."""

from collections.abc import Callable
from typing import Annotated, Generic, Self, TypeVar
from uuid import UUID

import strawberry

from domain.pages import Page, encode_cursor

T = TypeVar("T")
Row = TypeVar("Row")

First = Annotated[int | None, strawberry.argument(description="How many from the front.")]
After = Annotated[str | None, strawberry.argument(description="Only what comes after this cursor.")]
Last = Annotated[int | None, strawberry.argument(description="How many from the end.")]
Before = Annotated[str | None, strawberry.argument(description="Only what comes before this cursor.")]


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether more follows.")
    has_previous_page: bool = strawberry.field(description="Whether something comes before.")
    start_cursor: str | None = strawberry.field(description="The first edge's cursor.")
    end_cursor: str | None = strawberry.field(description="The last edge's cursor.")


@strawberry.type(description="An element of a list and its place there.")
class Edge(Generic[T]):
    cursor: str = strawberry.field(description="Its place, for `after` and `before`; stable while rows come and go.")
    node: T = strawberry.field(description="The element.")


@strawberry.type(description="A page of a list.")
class Connection(Generic[T]):
    edges: list[Edge[T]] = strawberry.field(description="The elements with their cursors.")
    nodes: list[T] = strawberry.field(description="The elements alone.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")

    @classmethod
    def of(cls, page: Page[Row], *, node: Callable[[Row], T], row_id: Callable[[Row], UUID]) -> Self:
        nodes = [node(row) for row in page.rows]
        cursors = [encode_cursor(row_id(row)) for row in page.rows]
        return cls(
            edges=[Edge(cursor=cursor, node=each) for cursor, each in zip(cursors, nodes, strict=True)],
            nodes=nodes,
            page_info=PageInfo(
                has_next_page=page.has_next,
                has_previous_page=page.has_previous,
                start_cursor=cursors[0] if cursors else None,
                end_cursor=cursors[-1] if cursors else None,
            ),
        )
