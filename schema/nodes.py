"""Relay's object identification: anything with an id can be read again by its id alone."""

import strawberry


@strawberry.interface(description="Anything that has an id.")
class Node:
    id: strawberry.ID = strawberry.field(description="Its id, unique among everything.")
