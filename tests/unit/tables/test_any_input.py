"""Any well-formed command at all: known ids and unknown ones, sensible values and absurd ones.

A rule answers it with facts that their contracts can hold. It never fails: a command that made it fail would stop its
key for as long as it is tried again (streams/parking.py).
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.routing import is_refusal
from streams.schemas import contracts, definitions
from tests.contract.strategies import values
from tests.unit.tables.scenario import NOON
from tests.unit.tables.tenant_world import ALLOCATION, COMMANDS, ENDED, OWN, TENANT, prepared

IDS = {
    "product_id": ["tea", "cup", "none", ""],
    "warehouse_id": ["w1", "w2", ""],
    "to_warehouse_id": ["w1", "w2", ""],
    "lot_id": ["A", "Z", ""],
    "allocation_id": [ALLOCATION, ENDED, "tea~w1~none", "none", ""],
    "request_id": ["r", ""],
    "strategy": ["FEFO", "FIFO", "LIFO", "LOT", "RANDOM"],
    "uom": ["", "pc", "kg"],
    "customer_id": ["ann", "eve", "bob", ""],
    "transaction_id": ["earn", "new", ""],
    "original_transaction_id": ["earn", "later", ""],
    "hold_id": ["held", "ended", "new", ""],
    "benefit_id": ["ten", "none", ""],
    "reservation_id": ["held", "ended", "new", ""],
    "notification_id": ["later", "new", ""],
    "currency": ["EUR", "USD", "euro", ""],
}
NEAR = st.integers(-3 * 86_400, 40 * 86_400).map(lambda seconds: NOON + timedelta(seconds=seconds))
SMALL = st.integers(-2, 120)


def _any_of(name: str, node: Any, named: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return values of a field: mostly ones that lead into the rules, sometimes any that its schema holds."""
    whatever = values(node, named)
    if name == "tenant_id":
        return st.just(TENANT)
    if name == "expected_version":
        return st.none()
    if name in IDS:
        return st.sampled_from(IDS[name]) | whatever
    kind = node[-1] if isinstance(node, list) else node
    logical = kind.get("logicalType") if isinstance(kind, dict) else ""
    if logical == "timestamp-micros":
        return NEAR | whatever
    if logical == "decimal":
        return SMALL.map(Decimal) | whatever
    return SMALL | whatever if kind in ("int", "long") else whatever


@cache
def _any_command(command: type) -> st.SearchStrategy[Any]:
    schema = contracts()[command.RECORD].schema  # type: ignore[attr-defined]
    named = {definition["name"]: definition for definition in definitions(schema)}
    return st.builds(
        command, **{each["name"]: _any_of(each["name"], each["type"], named) for each in schema["fields"]}
    )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_no_command_whatever_it_says_makes_a_rule_fail(command: type, data: st.DataObject) -> None:
    tenant = prepared()
    before = tenant.records()
    facts = tenant.send(data.draw(_any_command(command)))
    if facts and all(is_refusal(type(fact)) for fact in facts) and command not in OWN:
        assert tenant.records() == before
    tenant.pass_time(timedelta(days=1))
