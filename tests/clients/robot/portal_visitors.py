"""Those who use a sandbox portal in tests, over HTTP: somebody who ships orders, and whoever orders faults."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from clients.robot.sandbox_portal.server import RunningPortal, running_portal
from clients.robot.sandbox_portal.settings import PortalSettings

FORM = "/panel/agregar_pedidos/coordinadora"
JSON = {"Accept": "application/json"}
ACCOUNT = "tienda"
PASSWORD = "sandbox"

PEDIDO = {
    "identificacion_": "3093542877",
    "nombres_": "Yesenia",
    "apellidos_": "Cifuentes Ortiz",
    "direccion_": "Calle 107 #39C - 42",
    "telefono_celular_": "3093542877",
    "email_destinatario": "yesenia@example.org",
    "numero_pedido": "1",
    "referencia": "ORD-1",
    "unidades": "2",
    "total_iva": "0",
    "total_coniva": "150000",
    "valor_declarado": "55000",
    "peso": "0.08",
    "alto": "5",
    "largo": "5",
    "ancho": "10",
    "ciudad": "MEDELLIN (ANT)",
    "pago_contra_entrega": "S",
    "flete_contra_entrega": "N",
}


def fast(**settings: Any) -> PortalSettings:
    """No pace of its own."""
    pace: dict[str, Any] = {"dialog_delay_s": (0, 0), "suggestions_delay_s": 0, "guide_after_s": 0}
    return PortalSettings(**(pace | settings))


class Visitor:
    """Somebody at the portal, with cookies of their own."""

    def __init__(self, portal: RunningPortal, http: httpx.AsyncClient) -> None:
        self.portal = portal
        self.http = http

    async def log_in(self, account: str = ACCOUNT, password: str = PASSWORD) -> httpx.Response:
        return await self.http.post("/login", data={"usuario": account, "clave": password})

    async def is_logged_in(self) -> bool:
        return "/panel" in str((await self.http.get("/panel", follow_redirects=True)).url)

    async def submit(self, reference: str = "ORD-1", **fields: str) -> httpx.Response:
        """Press the button, as the page's script does."""
        return await self.http.post(FORM, data=PEDIDO | {"referencia": reference} | fields, headers=JSON)

    async def dialog(self, reference: str = "ORD-1", **fields: str) -> Any:
        answer = await self.submit(reference, **fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def keep_draft(self, reference: str = "ORD-1", **fields: str) -> httpx.Response:
        return await self.http.post(f"{FORM}/borrador", data=PEDIDO | {"referencia": reference} | fields)

    async def order_faults(self, *faults: dict[str, Any]) -> None:
        answer = await self.http.post("/sandbox/faults", json=list(faults))
        assert answer.status_code == 201, answer.text

    async def has_met_a_fault(self) -> bool:
        return any(fault["met"] for fault in (await self.http.get("/sandbox/faults")).json()["faults"])

    async def order(self, reference: str = "ORD-1", account: str = ACCOUNT) -> Any:
        """What the portal knows of it: parcels, numbers, submissions."""
        answer = await self.http.get("/sandbox/orders", params={"reference": reference, "account": account})
        found = answer.json()["orders"]
        return found[0] if found else {"parcels": 0, "numbers": [], "submissions": {}}

    async def parcels(self, reference: str = "ORD-1", account: str = ACCOUNT) -> int:
        return int((await self.order(reference, account))["parcels"])


@asynccontextmanager
async def visitor(portal: RunningPortal) -> AsyncIterator[Visitor]:
    async with httpx.AsyncClient(base_url=portal.url, trust_env=False, timeout=30) as http:
        yield Visitor(portal, http)


@asynccontextmanager
async def visited_portal(**settings: Any) -> AsyncIterator[Visitor]:
    """A fast portal of one's own, and somebody who is logged in there."""
    async with running_portal(fast(**settings)) as portal, visitor(portal) as shop:
        assert (await shop.log_in()).status_code == 303
        yield shop
