"""A member whose name was taken is told so by its old member id, which no failure before may make it forget."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import UnknownMemberIdError
from aiokafka.protocol.group import JoinGroupRequest

from streams.membership import FENCED_INSTANCE_ID, NO_GENERATION, MemberReplaced, watch_name

OLD = "w1-old"
JOIN = JoinGroupRequest("group", 10_000, 30_000, OLD, "w1", "consumer", [])


class Coordinator:
    """What aiokafka's coordinator of a static member does with its member id; the group's answers are given."""

    def __init__(self) -> None:
        self.generation, self.member_id = 7, OLD
        self.rejoins = 0
        self._group_instance_id = "w1"
        self.answer = 0

    async def _send_req(self, request: Any) -> Any:
        return SimpleNamespace(error_code=self.answer)

    def reset_generation(self) -> None:
        self.generation, self.member_id = NO_GENERATION, ""

    def request_rejoin(self) -> None:
        self.rejoins += 1


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


async def test_a_heartbeat_and_commits_that_fail_together_leave_the_old_member_id(
    coordinator: Coordinator,
) -> None:
    told: list[MemberReplaced] = []
    watch_name(coordinator, told.append)
    for _ in range(5):
        coordinator.reset_generation()
    assert (coordinator.generation, coordinator.member_id, coordinator.rejoins) == (NO_GENERATION, OLD, 5)
    coordinator.answer = FENCED_INSTANCE_ID
    await coordinator._send_req(JOIN)
    assert [str(each) for each in told] == ["another process is the group's member w1 now; this worker stops"]


async def test_a_group_that_knows_nobody_of_the_name_is_joined_afresh(coordinator: Coordinator) -> None:
    told: list[MemberReplaced] = []
    watch_name(coordinator, told.append)
    coordinator.reset_generation()
    coordinator.answer = UnknownMemberIdError.errno
    await coordinator._send_req(JOIN)
    coordinator.reset_generation()
    assert coordinator.member_id == ""
    coordinator.generation, coordinator.member_id = 8, "w1-new"
    coordinator.reset_generation()
    assert coordinator.member_id == "w1-new", "the next failure is asked about again"
    assert told == []
