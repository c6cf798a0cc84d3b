"""GraphQL Code Generator's types of the committed schema, and what TypeScript makes of programs that use them."""

import asyncio
import shutil
from pathlib import Path

from tests.real_clients.node import FOLDER, PACKAGES, ROOT, Node
from tests.real_clients.processes import run_tool


async def test_generated_types_compile_strictly_and_know_every_case(node: Node, tmp_path: Path) -> None:
    project = tmp_path / "codegen"
    await asyncio.to_thread(shutil.copytree, FOLDER / "codegen", project)
    await asyncio.to_thread(shutil.copy, ROOT / "schema" / "schema.graphql", project)
    (project / "node_modules").symlink_to(PACKAGES)

    await run_tool(node, "graphql-codegen", "--config", "codegen.ts", folder=project)
    await run_tool(node, "tsc", "--strict", "--noEmit", "--project", ".", folder=project)

    assert "'UpdateJobItemResultSuccess'" in (project / "src" / "gql" / "graphql.ts").read_text()
