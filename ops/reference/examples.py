"""One event of each type as an example: made from its contract, the same at every run, and fit to be sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from streams.avro_source import plain
from streams.envelope import derived_id
from streams.events import RECORDS
from streams.schemas import Contract, Node, definitions
from streams.web_bodies import fact_as_json

AT: Final = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)
"""When everything in the examples happens."""

TEXTS: Final = {
    "alert_type": "quota_exceeded",
    "allocation_id": "tea~WH1~request-1",
    "body": "Your order is on its way.",
    "code": "NOT_FOUND",
    "currency": "EUR",
    "customer_id": "bob",
    "event_type": "api_call",
    "idempotency_key": "order-1-paid",
    "lot_id": "LOT-7",
    "message": "there is no such thing; check the id",
    "message_type": "order_paid",
    "meter": "tokens.input",
    "model": "small-1",
    "original_transaction_id": "order-1",
    "previous_tier": "SILVER",
    "price_version": "3",
    "product_id": "tea",
    "reason": "the customer changed their mind",
    "reason_code": "NOT_FOUND",
    "recipient": "bob@example.com",
    "record": "sluice.stock.StockExitRequested",
    "rejected_type": "stock.exit.requested",
    "resource_type": "tokens.input",
    "service_name": "assistant",
    "template": "order-paid",
    "tenant_id": "acme",
    "tier": "GOLD",
    "time_zone": "Europe/Berlin",
    "to_warehouse_id": "WH2",
    "topic": "stock.commands",
    "transaction_id": "order-1",
    "unit": "tokens",
    "user_id": "bob",
    "warehouse_id": "WH1",
}
"""What a text field of this name holds; another one holds its own name."""

SPECIAL: Final = {
    "sluice.alerts.Alert": {"event_type": "alerts.quota_exceeded", "subject": "quota-1"},
    "sluice.realtime.RealtimeMessage": {"channel": "tenant:acme", "event_type": "realtime.push.order_paid"},
}
"""The same for fields that mean something else in one record."""

PLAIN: Final = {"decimal": Decimal("12.5"), "int": 3, "long": 3, "boolean": True}

HOURS: Final = {"end": 1, "period_end": 1, "expires_at": 24, "due_at": 24, "until": 24, "valid_until": 24}
"""Hours by which a time of this name is after the others."""

WANTED: Final = frozenset(
    ("event_id", "tenant_id", "movement_id", "notification_id", "product_id", "request_id", "warehouse_id")
)
"""Optional fields that examples have all the same: ids, whose use is not plain, and what keys are made of."""


def example(contract: Contract) -> Any:
    """Return an event of a contract, as its struct: with its required fields and those whose use is not plain."""
    fields = _Maker(contract).fields(contract.schema)
    return msgspec.convert(fields, RECORDS[contract.name])


def payload(event: Any) -> dict[str, Any]:
    """Return an event as JSON, the way the web port takes and shows it, without what is left at its default."""
    shown = fact_as_json(event)
    for field in msgspec.structs.fields(event):
        value = getattr(event, field.name)
        if value == field.default or (isinstance(value, dict) and not value):
            del shown[field.name]
    return shown


class _Maker:
    def __init__(self, contract: Contract) -> None:
        self._named = {definition["name"]: definition for definition in definitions(contract.schema)}
        self._texts = TEXTS | SPECIAL.get(contract.name, {})
        self._texts["event_id"] = derived_id("example", 0, 0, contract.name)

    def fields(self, record: dict[str, Any]) -> dict[str, Any]:
        return {
            field["name"]: self.value(field["name"], field["type"])
            for field in record["fields"]
            if "default" not in field or field["name"] in WANTED
        }

    def value(self, name: str, node: Node) -> Any:
        node = plain(node, self._named)
        if isinstance(node, list):
            return self.value(name, node[1])
        match node.get("logicalType") or node["type"]:
            case "timestamp-micros":
                return AT + timedelta(hours=HOURS.get(name, 0))
            case "enum":
                return node["symbols"][1]  # the first one says UNKNOWN
            case "array":
                return [self.value(name, node["items"])]
            case "record":
                return self.fields(node)
            case "string":
                return self._texts.get(name, name.replace("_id", "-1").replace("_", "-"))
            case other:
                return PLAIN[other]
