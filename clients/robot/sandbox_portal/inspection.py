"""What a test asks of the portal and no carrier would answer: /sandbox, in JSON."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clients.robot.sandbox_portal.bodies import BodyRefused, read_json
from clients.robot.sandbox_portal.faults import Fault, FaultKind, FaultRefused
from clients.robot.sandbox_portal.order_form import text_problem
from clients.robot.sandbox_portal.portal import BY_HAND, Portal
from clients.robot.sandbox_portal.store import NumberTaken

FAULTS_AT_ONCE = 10_000
PARCELS_AT_ONCE = 10_000
_NUMBER_AT_MOST = 9_999_999_999
_ID_DIGITS_AT_MOST = 18
_TYPES: Mapping[str, tuple[type, ...]] = {
    "kind": (str,),
    "reference": (str, type(None)),
    "account": (str, type(None)),
    "times": (int, type(None)),
    "field": (str, type(None)),
    "seconds": (int, float, type(None)),
}

_PARCEL_TYPES: Mapping[str, tuple[type, ...]] = {
    "account": (str,),
    "number": (int, type(None)),
    "reference": (str, type(None)),
}


def inspection_routes(portal: Portal) -> list[Route]:
    inspection = _Inspection(portal)
    return [
        Route("/orders", inspection.orders, methods=["GET"]),
        Route("/parcels", inspection.parcels, methods=["GET"]),
        Route("/parcels", inspection.add_parcels, methods=["POST"]),
        Route("/accounts", inspection.accounts, methods=["GET"]),
        Route("/accounts", inspection.set_account, methods=["POST"]),
        Route("/faults", inspection.list_faults, methods=["GET"]),
        Route("/faults", inspection.order_faults, methods=["POST"]),
        Route("/faults", inspection.lift_faults, methods=["DELETE"]),
        Route("/reset", inspection.reset, methods=["POST"]),
    ]


class _Inspection:
    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._store = portal.store

    async def orders(self, request: Request) -> Response:
        return JSONResponse({"orders": self._store.list_orders(**_narrowed(request))})

    async def parcels(self, request: Request) -> Response:
        after_s = self._portal.settings.guide_after_s
        return JSONResponse(
            {
                "parcels": [
                    {
                        "account": parcel.account,
                        "reference": parcel.reference,
                        "number": parcel.number,
                        "guide": parcel.guide(after_s=after_s) or None,
                        "form": parcel.form,
                    }
                    for parcel in self._store.find_parcels(**_narrowed(request))
                ]
            }
        )

    async def add_parcels(self, request: Request) -> Response:
        """Typed in by hand, by somebody else: no submission of a robot."""
        sent = await read_json(request)
        if not isinstance(sent, list) or not 1 <= len(sent) <= PARCELS_AT_ONCE:
            raise BodyRefused(400, f"Send a list of 1 to {PARCELS_AT_ONCE:,} parcels.")
        for place, each in enumerate(sent):
            _check(each, _PARCEL_TYPES, required="account", path=f"[{place}]")
            number = each.get("number") or self._store.last_number(each["account"]) + 1
            if not 1 <= number <= _NUMBER_AT_MOST:
                raise BodyRefused(400, f"[{place}].number: from 1 to {_NUMBER_AT_MOST:,}.")
            try:
                self._store.add_parcel(each["account"], number, each.get("reference") or BY_HAND, {}, is_by_hand=True)
            except NumberTaken as error:
                raise BodyRefused(400, f"[{place}].number: {number} is not above the account's last one.") from error
        return JSONResponse({"added": len(sent)}, 201)

    async def accounts(self, _: Request) -> Response:
        return JSONResponse({"accounts": self._store.list_accounts()})

    async def set_account(self, request: Request) -> Response:
        sent = await read_json(request)
        known: dict[str, tuple[type, ...]] = {"name": (str,), "password": (str, type(None)), "is_locked": (bool,)}
        _check(sent, known, required="name", path="account")
        self._store.set_account(sent["name"], {name: value for name, value in sent.items() if name != "name"})
        return JSONResponse({})

    async def list_faults(self, _: Request) -> Response:
        faults = [{"id": each.id, **asdict(each.fault), "met": each.met} for each in self._store.list_faults()]
        return JSONResponse({"faults": faults})

    async def order_faults(self, request: Request) -> Response:
        sent = await read_json(request)
        if not isinstance(sent, list) or not 1 <= len(sent) <= FAULTS_AT_ONCE:
            raise BodyRefused(400, f"Send a list of 1 to {FAULTS_AT_ONCE:,} faults.")
        ids = self._store.order_faults([_fault(each, f"[{place}]") for place, each in enumerate(sent)])
        return JSONResponse({"ids": ids}, 201)

    async def lift_faults(self, request: Request) -> Response:
        kind, fault_id = request.query_params.get("kind"), request.query_params.get("id")
        if kind is not None and kind not in set(FaultKind):
            raise BodyRefused(400, f"There is no such kind; there are {', '.join(FaultKind)}.")
        if fault_id is not None and not (
            fault_id.isascii() and fault_id.isdigit() and len(fault_id) <= _ID_DIGITS_AT_MOST
        ):
            raise BodyRefused(400, "id: a whole number.")
        lifted = self._store.lift_faults(
            kind=FaultKind(kind) if kind else None, fault_id=int(fault_id) if fault_id else None
        )
        return JSONResponse({"lifted": lifted})

    async def reset(self, request: Request) -> Response:
        await read_json(request)  # no other site's page can send that
        self._store.reset()
        return JSONResponse({})


def _narrowed(request: Request) -> dict[str, str | None]:
    asked = {name: request.query_params.get(name) for name in ("account", "reference")}
    for name, value in asked.items():
        if value is not None and text_problem(value):
            raise BodyRefused(400, f"{name}: too long, or not text.")
    return asked


def _fault(sent: Any, path: str) -> Fault:
    _check(sent, _TYPES, required="kind", path=path)
    if sent["kind"] not in set(FaultKind):
        raise BodyRefused(400, f"{path}.kind: there are {', '.join(FaultKind)}.")
    try:
        return Fault(**(sent | {"kind": FaultKind(sent["kind"])}))
    except FaultRefused as error:
        raise BodyRefused(400, f"{path}: {error}") from error


def _check(sent: Any, known: Mapping[str, tuple[type, ...]], *, required: str, path: str) -> None:
    if not isinstance(sent, dict):
        raise BodyRefused(400, f"{path}: an object with {', '.join(known)} is expected.")
    if required not in sent:
        raise BodyRefused(400, f"{path}.{required} is missing.")
    for name, value in sent.items():
        if name not in known:
            raise BodyRefused(400, f"{path}: only {', '.join(known)} are known.")
        is_wrong = not isinstance(value, known[name]) or (isinstance(value, bool) and bool not in known[name])
        if is_wrong or (isinstance(value, str) and text_problem(value)):
            raise BodyRefused(400, f"{path}.{name} is of the wrong type, too long, or not text.")
