"""GraphQL over HTTP to the letter: the audit that comes with the npm package graphql-http."""

from tests.real_clients.node import Node
from tests.real_clients.processes import running
from tests.servers import Server
from tests.tenants import Tenant

AUDITS = 61  # of graphql-http 1.23


async def test_every_audit_passes(node: Node, server: Server, shop: Tenant) -> None:
    async with running(node, "graphql_http", server, shop) as program:
        audits = await program.tells_to_the_end()

    failed = [f"{audit['id']} {audit['name']}: {audit['reason']}" for audit in audits if audit["status"] != "ok"]
    assert not failed, "\n".join([f"{len(failed)} of {len(audits)} audits fail:", *failed])
    assert len(audits) == AUDITS
