"""What a robot relies on, asked of any carrier.  docs/robots.md shows how to run it, and how to add to it."""

import pytest

pytest.register_assert_rewrite("clients.robot.conformance.suite")
