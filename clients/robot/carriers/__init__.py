"""The carriers that a robot can work for, by name; a class of one's own as `package.module:Class`."""

import importlib

from clients.robot.carrier import Carrier

_OURS = {
    "sandbox": "clients.robot.carriers.sandbox:SandboxCarrier",
    "coordinadora": "clients.robot.carriers.coordinadora:CoordinadoraCarrier",
}


class UnknownCarrier(Exception):
    """There is no such class.  One line for people."""


def load_carrier(name: str) -> type[Carrier]:
    """Imports it now, and no other: one carrier's browser is no business of another's robot.  Raises UnknownCarrier."""
    module_name, colon, class_name = _OURS.get(name, name).partition(":")
    if not colon:
        raise UnknownCarrier(
            f"there is no carrier {name!r}; there are {', '.join(_OURS)}, or name package.module:Class"
        )
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise UnknownCarrier(f"carrier {name!r} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Carrier)):
        raise UnknownCarrier(f"{name!r} is no class of clients.robot.carrier.Carrier")
    return found
