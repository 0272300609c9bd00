"""The count that the tables are compared with: right by hand on small files, and by the steps on the real one."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ops import retail, retail_truth
from ops.retail import RETAIL, Row, read_online_retail
from ops.retail_steps import Earn, Entry, Return, Reversal, Sale, entries, row_steps
from ops.retail_truth import Account, truth

AT = datetime(2010, 12, 1, tzinfo=UTC)


def a_row(
    invoice: str = "1", product: str = "P", quantity: int = 1, price: str = "2", customer: str = ""
) -> Row:
    return Row(invoice, product, quantity, AT, Decimal(price), customer)


@pytest.mark.parametrize("module", [retail, retail_truth])
def test_it_shares_nothing_with_the_rules_nor_with_what_is_sent(module: object) -> None:
    tree = ast.parse(Path(str(getattr(module, "__file__", ""))).read_text())
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name.startswith(("tables", "streams", "agents", "ops.retail_"))}


def test_what_expires_is_taken_first_and_returns_go_to_a_lot_of_their_own() -> None:
    rows = [a_row(quantity=4), a_row("2", quantity=3), a_row("C3", quantity=-2)]
    assert truth(rows, 0).lots == {"P": {"P-A": 4, "P-B": 3, "P-R": 0}}
    assert truth(rows, 1).lots == {"P": {"P-A": 0, "P-B": 3, "P-R": 0}}
    assert truth(rows, 2).lots == {"P": {"P-A": 0, "P-B": 0, "P-R": 0}}
    assert truth(rows).lots == {"P": {"P-A": 0, "P-B": 0, "P-R": 2}}


def test_a_sale_may_take_from_both_lots() -> None:
    assert truth([a_row(quantity=3), a_row(quantity=2)], 1).lots["P"] == {"P-A": 0, "P-B": 2, "P-R": 0}
    assert truth([a_row(quantity=4), a_row(quantity=1)], 1).lots["P"] == {"P-A": 0, "P-B": 1, "P-R": 0}


def test_an_account_counts_whole_invoices_and_what_was_reversed() -> None:
    rows = [
        a_row("1", price="7.99", customer="7"),
        a_row("1", price="2.5", customer="7"),
        a_row("C2", quantity=-2, price="2.5", customer="7"),
        a_row("C3", quantity=-1, price="6", customer="7"),
    ]
    assert truth(rows, 1).accounts == {}
    assert truth(rows, 2).accounts == {"7": Account(10, 0)}
    assert truth(rows).accounts == {"7": Account(10, 5)}
    assert truth(rows).accounts["7"].totals["balance"] == 5


def test_all_goods_of_the_real_week_leave_and_what_came_back_stays() -> None:
    found = truth(read_online_retail(RETAIL))
    left = Counter[str]()
    for lots in found.lots.values():
        left += Counter({lot[-2:]: quantity for lot, quantity in lots.items()})
    assert left == {"-R": 13_501}
    assert len(found.lots) == 2403
    assert len(found.accounts) == 506
    assert sum(account.earned for account in found.accounts.values()) == 273_329
    assert sum(account.reversed for account in found.accounts.values()) == 1595


@pytest.mark.parametrize("end", [0, 1, 4_000, 12_345, 19_632])
def test_it_agrees_with_what_is_sent_at_any_row(end: int) -> None:
    rows = read_online_retail(RETAIL)
    found = truth(rows, end)
    on_hand: dict[str, int] = defaultdict(int)
    points: dict[str, int] = defaultdict(int)
    for done in (*entries(rows), *row_steps(rows)[:end]):
        for step in done:
            match step:
                case Entry() | Return():
                    on_hand[step.product] += step.quantity
                case Sale():
                    on_hand[step.product] -= step.quantity
                case Earn():
                    points[step.customer] += step.points
                case Reversal():
                    points[step.customer] -= step.points
    assert {product: sum(lots.values()) for product, lots in found.lots.items()} == {
        product: on_hand[product] for product in found.lots
    }
    assert {customer: account.totals["balance"] for customer, account in found.accounts.items()} == points
