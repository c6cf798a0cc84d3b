"""Who asks, and where they may work."""

import strawberry

from domain.workspaces import Role
from schema.access import query
from schema.api_keys import ApiKey
from schema.context import Info


@strawberry.type(description="Somebody who uses the API.")
class User:
    id: strawberry.ID = strawberry.field(
        description="The subject (`sub`) of a person's token; `key:<id>` of an API key."
    )


@strawberry.type(description="A workspace, as the viewer has it.")
class Workspace:
    id: strawberry.ID = strawberry.field(description="What X-Workspace-Id names.")
    name: str = strawberry.field(description="Its name.")
    role: Role = strawberry.field(description="What the viewer may do in it.")


@strawberry.type(description="Who asks.")
class Viewer:
    user: User = strawberry.field(description="Their identity, as records have it.")
    workspaces: list[Workspace] = strawberry.field(
        description="Where they may work, by name, the first 1,000; none for who is a member of none."
    )
    api_key: ApiKey | None = strawberry.field(description="The API key that asks; null for people.")


@strawberry.type
class ViewerQueries:
    @query("Who asks, and in which workspaces they may work.  Needs no X-Workspace-Id.", roles=None)
    async def viewer(self, info: Info) -> Viewer:
        viewer = await info.context.viewer()
        return Viewer(
            user=User(id=strawberry.ID(viewer.user_id)),
            workspaces=[
                Workspace(id=strawberry.ID(str(each.id)), name=each.name, role=each.role) for each in viewer.workspaces
            ],
            api_key=ApiKey.from_domain(viewer.key.api_key) if viewer.key is not None else None,
        )
