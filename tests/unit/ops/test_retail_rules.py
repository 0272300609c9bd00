"""The rules of stock and loyalty come to the numbers of the shop's file, before any broker is asked."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from ops.retail import RETAIL
from ops.retail_trace import RetailTrace
from ops.retail_truth import truth
from streams.topics import CUSTOMER_COMMANDS, STOCK_COMMANDS, key_of
from tables.customer import CUSTOMER
from tables.state import Snapshot
from tables.stock import STOCK

ROWS = 5_000
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_the_rules_refuse_nothing_and_end_where_the_file_says() -> None:
    trace = RetailTrace(RETAIL)
    rules = {STOCK_COMMANDS.name: STOCK, CUSTOMER_COMMANDS.name: CUSTOMER}
    states: dict[tuple[str, str], Snapshot] = {}
    facts = Counter[str]()
    for row in range(trace.end_of(ROWS)):
        for topic, key, command, _ in trace.events(row, NOW):
            state = states.get((topic, key), Snapshot())
            for fact in rules[topic].decide(state, command, NOW):
                facts[type(fact).__name__] += 1
                state = state.apply(rules[topic].fold(state, fact))
            states[topic, key] = state
    assert not [name for name in facts if name.endswith("Rejected")]
    wanted = truth(trace.rows, ROWS)
    for product, lots in wanted.lots.items():
        stock = states[STOCK_COMMANDS.name, key_of("shop", product, "WH1")]
        found = {name[2:]: int(lot.on_hand) for name, lot in stock.records.items() if name.startswith("l|")}
        assert found == {lot: pieces for lot, pieces in lots.items() if pieces}, product
    for customer, account in wanted.accounts.items():
        head: Any = states[CUSTOMER_COMMANDS.name, key_of("shop", customer)].get("h")
        assert {name: getattr(head, name) for name in account.totals} == account.totals, customer
