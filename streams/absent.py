"""What a foreign producer leaves out of an event, and where it is taken from (contracts 3.0)."""

from __future__ import annotations

from typing import Any

import msgspec

from streams.envelope import derived_id
from streams.keys import DEFAULT_TENANT
from streams.publisher import header


def completed(topic: str, partition: int, record: Any, event: Any) -> Any:
    """Return an event with its id and its tenant, where its record says nothing of them.

    Headers say it (``ce_id``, ``ce_tenantid``), else the place of the record, which is the same in every replay, and
    ``default`` as tenant.
    """
    if event.event_id and event.tenant_id:
        return event
    event_id = event.event_id or header(record.headers, "ce_id")
    tenant = event.tenant_id or header(record.headers, "ce_tenantid")
    return msgspec.structs.replace(
        event,
        event_id=event_id or derived_id(topic, partition, record.offset, "source"),
        tenant_id=tenant or DEFAULT_TENANT,
    )
