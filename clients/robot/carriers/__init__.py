"""The carriers that a robot can work for, by the names that the command line takes."""

import importlib
from collections.abc import Mapping

from clients.robot.carrier import Carrier

_CARRIERS: Mapping[str, str] = {
    "sandbox": "clients.robot.carriers.sandbox:SandboxCarrier",
    "coordinadora": "clients.robot.carriers.coordinadora:CoordinadoraCarrier",
}


class UnknownCarrier(ValueError):
    """There is no such carrier.  One line for people."""


def load_carrier(name: str) -> type[Carrier]:
    """`sandbox`, `coordinadora`, or one's own `package.module:Class`.  Raises UnknownCarrier and CarrierUnusable."""
    module, _, class_name = _CARRIERS.get(name, name).partition(":")
    if not class_name:
        raise UnknownCarrier(f"There is no carrier {name!r}: name {', '.join(_CARRIERS)} or package.module:Class.")
    try:
        found = getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError) as error:
        raise UnknownCarrier(f"The carrier {name!r} cannot be loaded: {error}.") from error
    if not (isinstance(found, type) and issubclass(found, Carrier)):
        raise UnknownCarrier(f"{name!r} is no carrier: it is not a subclass of clients.robot.carrier.Carrier.")
    return found
