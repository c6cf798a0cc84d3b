"""A unit of work: one transaction within a workspace."""

import uuid
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.robot_jobs import RobotJob
from domain.workspaces import Membership


@dataclass(slots=True)
class Work:
    """A transaction within a workspace."""

    connection: AsyncConnection
    membership: Membership
    announced: list[uuid.UUID] = field(default_factory=list)

    def announce(self, job: RobotJob) -> None:
        """Wake those who follow the job, or all of its workspace, once this has been committed."""
        self.announced += [job.id, job.workspace_id]
