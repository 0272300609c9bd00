"""Keeping a worker's name in the consumer group: a member that was replaced must end, never take the name back.

A worker is a static member (``group_instance_id``), so it keeps its partitions through a restart. When its node is
lost, an orchestrator starts the same member elsewhere. If the old process comes back (it was paused, or cut off), the
broker answers its heartbeats with UNKNOWN_MEMBER_ID, and aiokafka then joins afresh under the name: the two processes
would take it from each other for ever. So the old member id is kept until an attempt to join with it was answered: the
broker refuses it with FENCED_INSTANCE_ID exactly if another process has the name (KIP-345). Heartbeats and commits that
fail meanwhile, of which there may be several, change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiokafka.errors import UnknownMemberIdError
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import JoinGroupRequest

from streams.failures import FatalFailure

FENCED_INSTANCE_ID = 82
"""The broker's error code, which aiokafka does not know."""

NO_GENERATION = OffsetCommitRequest.DEFAULT_GENERATION_ID


class MemberReplaced(FatalFailure):
    """Another process joined the group under this worker's name."""


def watch_name(coordinator: Any, replaced: Callable[[MemberReplaced], None]) -> None:
    """Call ``replaced`` once the broker says that another process is the member now.

    Args:
        coordinator: aiokafka's group coordinator of a static member.
        replaced: called in the consumer's thread.
    """
    send, forget = coordinator._send_req, coordinator.reset_generation
    unknown = False  # whether the last attempt to join was answered so

    async def send_req(request: Any) -> Any:
        nonlocal unknown
        response = await send(request)
        if isinstance(request, JoinGroupRequest):
            unknown = response.error_code == UnknownMemberIdError.errno
        if getattr(response, "error_code", 0) == FENCED_INSTANCE_ID:
            name = coordinator._group_instance_id
            replaced(MemberReplaced(f"another process is the group's member {name} now; this worker stops"))
        return response

    def reset_generation() -> None:
        nonlocal unknown
        if unknown:  # the group knows neither us nor anybody of our name
            unknown = False
            forget()
            return
        coordinator.generation = NO_GENERATION
        coordinator.request_rejoin()

    coordinator._send_req = send_req
    coordinator.reset_generation = reset_generation
