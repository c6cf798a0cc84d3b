"""Coordinadora's client portal, worked in a real Chromium as a person works it."""

from clients.robot.carrier import CarrierUnusable

try:
    from clients.robot.carriers.coordinadora.carrier import CoordinadoraCarrier
except ModuleNotFoundError as missing:
    raise CarrierUnusable(
        f"The carrier coordinadora needs {missing.name}: pip install 'robot-jobs[browser]', and a Chromium."
    ) from missing

__all__ = ["CoordinadoraCarrier"]
