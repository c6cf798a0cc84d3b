"""Relay connections over the domain's keyset pages."""

from collections.abc import Callable
from typing import Annotated, Any, Generic, Self, TypeVar

import strawberry

from domain.pages import Page
from schema.context import Info
from schema.selections import is_selected

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
    cursor: str = strawberry.field(
        description="Its place, for `after` and `before` of the same list in the same order; stable while rows come "
        "and go."
    )
    node: T = strawberry.field(description="The element.")


@strawberry.type(description="A page of a list.")
class Connection(Generic[T]):
    page: strawberry.Private[Page[Any]]
    nodes: list[T] = strawberry.field(description="The elements alone.")

    @strawberry.field(description="The elements with their cursors.")
    def edges(self) -> list[Edge[T]]:
        cursor = self.page.cursor
        return [Edge(cursor=cursor(row), node=node) for row, node in zip(self.page.rows, self.nodes, strict=True)]

    @strawberry.field(description="Where the page stands.")
    def page_info(self) -> PageInfo:
        rows = self.page.rows
        return PageInfo(
            has_next_page=self.page.has_next,
            has_previous_page=self.page.has_previous,
            start_cursor=self.page.cursor(rows[0]) if rows else None,
            end_cursor=self.page.cursor(rows[-1]) if rows else None,
        )

    @strawberry.field(
        description="How many there are on all pages, of the same moment as this one.  Counted only when asked for."
    )
    def total_count(self) -> int:
        if self.page.total is None:
            raise RuntimeError("the total was asked for and not counted")
        return self.page.total

    @classmethod
    def of(cls, page: Page[Row], *, node: Callable[[Row], T]) -> Self:
        return cls(page=page, nodes=[node(row) for row in page.rows])


def wants_total(info: Info) -> bool:
    """Whether the running resolver, which answers with a connection, is asked for its total."""
    return is_selected(info, "totalCount")
