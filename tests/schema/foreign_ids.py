"""Every operation that takes an id: who asks, the document, and its variables for an id of that kind."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from domain.workspaces import Role
from tests.schema import documents as d

Variables = Callable[[str, str], dict[str, Any]]
"""Of the id in question, and of a job of the caller's own."""


@dataclass(frozen=True, slots=True)
class IdOperation:
    kind: str
    """Of what the id is: job, item, order or key."""
    document: str
    variables: Variables
    role: Role = Role.OPERATOR
    is_subscription: bool = False


def _input(**given: Callable[[str, str], Any]) -> Variables:
    return lambda found, own: {"input": {name: make(found, own) for name, make in given.items()}}


def _carrier(_found: str, _own: str) -> str:
    return "COORDINADORA"


_NOBODYS = "01890000-0000-7000-8000-000000000000"


def _one(found: str, _own: str) -> str:
    return found


def _list(found: str, _own: str) -> list[str]:
    return [found]


# Path of the argument in the contract -> the operation.
ID_OPERATIONS: dict[str, IdOperation] = {
    "robotJob.id": IdOperation("job", d.JOB, lambda found, _: {"id": found}),
    "robotJobItem.id": IdOperation("item", d.ITEM, lambda found, _: {"id": found}),
    "order.id": IdOperation("order", d.ORDER, lambda found, _: {"id": found}),
    "node.id": IdOperation("job", d.NODE, lambda found, _: {"id": found}),
    "nodes.ids": IdOperation("order", d.NODES, lambda found, _: {"ids": [found]}),
    "previewDispatch.input.orderIds": IdOperation("order", d.PREVIEW, _input(carrier=_carrier, orderIds=_list)),
    "createRobotJob.input.orderIds": IdOperation("order", d.CREATE, _input(carrier=_carrier, orderIds=_list)),
    "updateJobItemResult.input.itemId": IdOperation(
        "item", d.REPORT, _input(itemId=_one, status=lambda *_: "SUCCESS", trackingNumber=lambda *_: "P-1")
    ),
    "updateJobStatus.input.jobId": IdOperation("job", d.SET_STATUS, _input(jobId=_one, status=lambda *_: "FAILED")),
    "updateJobItemResult.input.leaseToken": IdOperation(
        "item",
        d.REPORT,
        _input(
            itemId=lambda *_: _NOBODYS,
            status=lambda *_: "SUCCESS",
            attempt=lambda *_: 1,
            trackingNumber=lambda *_: "P-1",
            leaseToken=_one,
        ),
    ),
    "updateJobItemResults.input.results.itemId": IdOperation(
        "item",
        d.REPORT_MANY,
        _input(results=lambda found, _: [{"itemId": found, "status": "SUCCESS", "trackingNumber": "P-1"}]),
    ),
    "updateJobItemResults.input.results.leaseToken": IdOperation(
        "item",
        d.REPORT_MANY,
        _input(results=lambda found, _: [{"itemId": _NOBODYS, "status": "ERROR", "attempt": 1, "leaseToken": found}]),
    ),
    "claimJobItems.input.claimId": IdOperation(
        "item", d.CLAIM, _input(carrier=lambda *_: "SANDBOX", claimId=_one), role=Role.ROBOT
    ),
    "renewLeases.input.leases.itemId": IdOperation(
        "item",
        d.RENEW,
        _input(leases=lambda found, _: [{"itemId": found, "leaseToken": _NOBODYS}]),
        role=Role.ROBOT,
    ),
    "renewLeases.input.leases.leaseToken": IdOperation(
        "item",
        d.RENEW,
        _input(leases=lambda found, _: [{"itemId": _NOBODYS, "leaseToken": found}]),
        role=Role.ROBOT,
    ),
    "releaseJobItems.input.leases.itemId": IdOperation(
        "item",
        d.RELEASE,
        _input(leases=lambda found, _: [{"itemId": found, "leaseToken": _NOBODYS}], reason=lambda *_: "STOPPING"),
        role=Role.ROBOT,
    ),
    "releaseJobItems.input.leases.leaseToken": IdOperation(
        "item",
        d.RELEASE,
        _input(leases=lambda found, _: [{"itemId": _NOBODYS, "leaseToken": found}], reason=lambda *_: "STOPPING"),
        role=Role.ROBOT,
    ),
    "markItemSubmitting.input.itemId": IdOperation(
        "item", d.MARK, _input(itemId=_one, leaseToken=lambda *_: _NOBODYS), role=Role.ROBOT
    ),
    "markItemSubmitting.input.leaseToken": IdOperation(
        "item", d.MARK, _input(itemId=lambda *_: _NOBODYS, leaseToken=_one), role=Role.ROBOT
    ),
    "cancelRobotJob.input.jobId": IdOperation("job", d.CANCEL, _input(jobId=_one)),
    "resolveUnknownOutcome.input.itemId": IdOperation(
        "item",
        d.RESOLVE,
        _input(itemId=_one, confirmedAbsent=lambda *_: True, reason=lambda *_: "Looked."),
    ),
    "retryFailedItems.input.jobId": IdOperation("job", d.RETRY, _input(jobId=_one)),
    "retryFailedItems.input.itemIds": IdOperation("item", d.RETRY, _input(jobId=lambda _, own: own, itemIds=_list)),
    "updateOrder.input.orderId": IdOperation("order", d.UPDATE_ORDER, _input(orderId=_one, city=lambda *_: "Cali")),
    "revokeApiKey.input.apiKeyId": IdOperation("key", d.REVOKE_KEY, _input(apiKeyId=_one), role=Role.ADMIN),
    "robotJobItemCompleted.jobId": IdOperation(
        "job", d.FOLLOW_ITEMS, lambda found, _: {"jobId": found}, is_subscription=True
    ),
    "robotJobProgress.jobId": IdOperation(
        "job", d.FOLLOW_PROGRESS, lambda found, _: {"jobId": found}, is_subscription=True
    ),
}
