"""Robot jobs in the contract."""

from schema.robot_jobs.board import BoardSubscriptions
from schema.robot_jobs.evidence import EVIDENCE_PATH
from schema.robot_jobs.leases import LeaseMutations
from schema.robot_jobs.mutations import RobotJobMutations
from schema.robot_jobs.queries import RobotJobQueries
from schema.robot_jobs.subscriptions import RobotJobSubscriptions
from schema.robot_jobs.types import RobotJob, RobotJobItem

__all__ = [
    "EVIDENCE_PATH",
    "BoardSubscriptions",
    "LeaseMutations",
    "RobotJob",
    "RobotJobItem",
    "RobotJobMutations",
    "RobotJobQueries",
    "RobotJobSubscriptions",
]
