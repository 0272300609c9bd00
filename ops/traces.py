"""Real traces as events. Pure: the same file and the same times always give the same events.

Row i of the LLM trace is two `UsageEvent`s, tokens in and tokens out, of tenant ``i mod 50`` and user
``i mod 500``; their ids come from file name and row, so a replay that is repeated counts once.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from ops.errors import OpsError
from ops.replay import Outgoing
from streams.events import UsageEvent
from streams.topics import USAGE_METERED, key_of

LLM_TRACE = Path(__file__).with_name("data") / "azure-llm-inference-2023-code.csv"
COLUMNS = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"]
TENANTS, USERS = 50, 500


@dataclass(frozen=True, slots=True)
class Request:
    """One row: when the request came, its tokens in and out."""

    at: datetime
    context: int
    generated: int


def read_llm_trace(file: Path) -> list[Request]:
    """Return the rows of an LLM trace in file order. Raises OpsError where the file is not one."""
    remedy = f"Give a CSV file with the columns {','.join(COLUMNS)}, such as {LLM_TRACE}."
    try:
        with file.open(newline="") as stream:
            lines = csv.reader(stream)
            if next(lines, None) != COLUMNS:
                raise OpsError(f"{file} is not an LLM trace: its columns are others.", remedy)
            rows = [_request(line) for line in lines]
    except OSError as error:
        raise OpsError(f"{file} cannot be read: {error.strerror}.", remedy) from error
    except (ValueError, IndexError) as error:
        raise OpsError(f"{file} is not an LLM trace: {error}.", remedy) from error
    if not rows:
        raise OpsError(f"{file} holds no rows.", remedy)
    return rows


class LlmTrace:
    """An LLM trace as a replay takes it.

    Args:
        file: the trace.
        copy: 0 is the trace itself; further copies are other events, with ids of their own.
    """

    records = ((USAGE_METERED.name, UsageEvent),)

    def __init__(self, file: Path, copy: int = 0) -> None:
        self.rows = read_llm_trace(file)
        self.name = f"{file.name}@{copy}" if copy else file.name

    def __len__(self) -> int:
        return len(self.rows)

    def events(self, row: int, last_at: datetime) -> Iterator[Outgoing]:
        """Yield the two events of a row; all rows keep their distance to the last one, which is at ``last_at``."""
        request = self.rows[row]
        at = request.at + (last_at - self.rows[-1].at)
        for resource, quantity in (("tokens.input", request.context), ("tokens.output", request.generated)):
            event = UsageEvent(
                event_id=str(uuid5(NAMESPACE_URL, f"{self.name}#{row}/{resource}")),
                timestamp=at,
                tenant_id=f"tenant-{row % TENANTS:02d}",
                service_name="llm-gateway",
                user_id=f"user-{row % USERS:03d}",
                event_type="usage.metered.model_inference",
                resource_type=resource,
                quantity=Decimal(quantity),
                unit="tokens",
                metadata={"model_name": "gpt-4"},
            )
            yield Outgoing(USAGE_METERED.name, key_of(event.tenant_id), event, event.event_type)

    def events_before(self, row: int) -> int:
        """Return how many events the rows before ``row`` have."""
        return 2 * row

    def seconds(self, row: int) -> float:
        """Return when a row happens, in seconds since the first."""
        return (self.rows[row].at - self.rows[0].at).total_seconds()


def _request(line: list[str]) -> Request:
    at = datetime.fromisoformat(line[0][:26]).replace(tzinfo=UTC)  # the seventh digit is below Avro's micros
    return Request(at, int(line[1]), int(line[2]))
