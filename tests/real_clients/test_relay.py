"""Relay: its compiler takes the committed schema, and its runtime runs on what the compiler made."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from tests.real_clients.node import FOLDER, ROOT, Node
from tests.real_clients.processes import items_of, run_tool, running
from tests.servers import Server
from tests.tenants import Tenant


@pytest.mark.long
async def test_relay_compiles_pages_changes_and_follows(
    node: Node, server: Server, shop: Tenant, tmp_path: Path
) -> None:
    others = [await shop.job(items=1) for _ in range(3)]
    in_hand = await shop.job(items=4)
    newest_first = [str(job.job.id) for job in (in_hand, *reversed(others))]
    project = tmp_path / "relay"
    await asyncio.to_thread(shutil.copytree, FOLDER / "relay", project)
    await asyncio.to_thread(shutil.copy, ROOT / "schema" / "schema.graphql", project)
    configuration = project / "relay.config.json"
    # Node.js finds the artifacts' imports, which name no ending, only in this form; bundlers find both.
    configuration.write_text(json.dumps(json.loads(configuration.read_text()) | {"eagerEsModules": False}))
    artifacts = project / "artifacts"
    artifacts.mkdir()

    printed = await run_tool(node, "relay-compiler", folder=project)
    async with running(node, "relay", server, shop, in_hand, ARTIFACTS=str(artifacts)) as program:
        jobs = await program.tells_of("jobs")
        page = await program.tells_of("items")
        changed = (await program.tells_of("mutation"))["result"]
        refused = (await program.tells_of("typed error"))["result"]
        told = await program.tells_to_the_end()

    assert "Compilation completed" in printed
    assert (jobs["first"], jobs["all"], jobs["hasNextPage"]) == (newest_first[:2], newest_first, False)
    assert jobs["progress"] == {"percent": 0, "itemsPerMinute": None, "estimatedCompletionAt": None}
    assert [(item["id"], item["status"]) for item in page["items"]] == [
        (str(item.id), "PENDING") for item in in_hand.items
    ]
    assert changed["item"]["trackingNumber"] == "TRK-relay"
    assert (refused["__typename"], refused["code"]) == ("RobotJobItemNotFound", "ROBOT_JOB_ITEM_NOT_FOUND")
    assert items_of(told) == [str(item.id) for item in in_hand.items]
    assert [line["job"]["status"] for line in told if line["what"] == "progress"][-1] == "CANCELLED"
    assert [item["status"] for item in told[-1]["items"]] == ["SUCCESS", "CANCELLED", "CANCELLED", "CANCELLED"]
