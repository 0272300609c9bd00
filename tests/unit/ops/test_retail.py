"""The shop's file, and what its rows are taken to mean (shared rules: the same everywhere)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ops.errors import OpsError
from ops.retail import COLUMNS, RETAIL, Row, read_online_retail
from ops.retail_steps import Earn, Entry, Return, Reversal, Sale, entries, row_steps

HEAD = ",".join(COLUMNS)
AT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


def a_row(
    invoice: str = "1", product: str = "P", quantity: int = 1, price: str = "2", customer: str = ""
) -> Row:
    return Row(invoice, product, quantity, AT, Decimal(price), customer)


def test_the_committed_week_is_whole_and_attributed() -> None:
    rows = read_online_retail(RETAIL)
    assert len(rows) == 19_632
    assert len({row.product for row in rows}) == 2403
    assert rows[0] == Row("536365", "85123A", 6, AT, Decimal("2.55"), "17850")
    attribution = RETAIL.with_name("ATTRIBUTION.md").read_text()
    assert RETAIL.name in attribution
    assert "CC BY 4.0" in attribution


def test_a_customer_is_a_number_without_its_decimal_point_or_nobody() -> None:
    rows = read_online_retail(RETAIL)
    assert sum(row.customer == "" for row in rows) == 6651
    assert all("." not in row.customer for row in rows)


def test_a_file_with_signs_beyond_ascii_and_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "shop.csv"
    file.write_text(f'﻿{HEAD}\n1,P,"JARDÍN, £5 ""SET""",2,2010-12-01 08:26:00,1.5,17.0,España\n')
    assert read_online_retail(file) == [Row("1", "P", 2, AT, Decimal("1.5"), "17")]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("", "columns are others"),
        ("a,b\n1,2\n", "columns are others"),
        (f"{HEAD}\n", "holds no rows"),
        (f"{HEAD}\n1,P,D,many,2010-12-01 08:26:00,1.5,17.0,X\n", "row 0.*many"),
        (f"{HEAD}\n1,P,D,1,2010-12-01 08:26:00,free,17.0,X\n", "row 0"),
        (f"{HEAD}\n1,P,D\n", "row 0"),
        (f"{HEAD}\n1,P,D,0,2010-12-01 08:26:00,1,17.0,X\n", "a quantity of 0 in invoice 1"),
        (f"{HEAD}\nC1,P,D,3,2010-12-01 08:26:00,1,17.0,X\n", "a quantity of 3 in invoice C1"),
    ],
)
def test_a_file_that_is_no_shop_s_is_refused(tmp_path: Path, content: str, cause: str) -> None:
    file = tmp_path / "other.csv"
    file.write_text(content)
    with pytest.raises(OpsError, match=cause) as refusal:
        read_online_retail(file)
    assert HEAD in refusal.value.remedy


def test_half_of_what_will_be_sold_comes_in_perishable_and_the_rest_not() -> None:
    rows = [a_row(quantity=3), a_row(product="Q", quantity=1), a_row(quantity=2), a_row("C2", quantity=-4)]
    assert entries(rows) == [
        (Entry("P", "P-A", 3, perishable=True), Entry("P", "P-B", 2, perishable=False)),
        (Entry("Q", "Q-A", 1, perishable=True),),
    ]


def test_what_is_only_ever_returned_has_no_goods_coming_in() -> None:
    assert entries([a_row("C1", quantity=-4)]) == []


def test_a_sold_line_leaves_and_a_returned_one_comes_back_whether_it_is_a_cancellation_or_not() -> None:
    rows = [a_row(quantity=3), a_row("C2", quantity=-4), a_row("3", quantity=-5)]
    assert row_steps(rows) == [
        (Sale(0, "1", "P", 3),),
        (Return(1, "C2", "P", "P-R", 4),),
        (Return(2, "3", "P", "P-R", 5),),
    ]


def test_points_come_with_the_last_line_of_an_invoice_and_are_its_whole_amount_rounded_down() -> None:
    rows = [a_row(price="1.55", customer="7"), a_row("2"), a_row(quantity=2, price="0.7", customer="7")]
    assert row_steps(rows)[0] == (Sale(0, "1", "P", 1),)
    assert row_steps(rows)[2] == (Sale(2, "1", "P", 2), Earn(2, "1", "7", 2))


def test_an_invoice_below_one_earns_nothing_and_neither_does_one_without_a_customer() -> None:
    steps = row_steps([a_row(price="0.99", customer="7"), a_row("2", price="50")])
    assert [len(done) for done in steps] == [1, 1]


def test_a_cancellation_reverses_the_latest_purchase_that_has_that_many_points_left() -> None:
    rows = [
        a_row("1", price="10", customer="7"),
        a_row("2", price="5", customer="7"),
        a_row("3", price="50", customer="8"),
        a_row("C4", quantity=-1, price="6", customer="7"),
        a_row("C5", quantity=-1, price="4", customer="7"),
        a_row("C6", quantity=-1, price="4", customer="7"),
        a_row("C7", quantity=-1, price="4", customer="7"),
    ]
    reversals = [step for done in row_steps(rows) for step in done if isinstance(step, Reversal)]
    assert [(step.invoice, step.points, step.purchase) for step in reversals] == [
        ("C4", 6, "1"),
        ("C5", 4, "2"),
        ("C6", 4, "1"),
    ]


def test_a_later_purchase_is_not_reversed_by_an_earlier_cancellation() -> None:
    rows = [a_row("C1", quantity=-1, price="6", customer="7"), a_row("2", price="10", customer="7")]
    assert [len(done) for done in row_steps(rows)] == [1, 2]


def test_the_committed_week_is_this_many_steps() -> None:
    rows = read_online_retail(RETAIL)
    lots, steps = entries(rows), row_steps(rows)
    assert len(steps) == len(rows)
    assert Counter(type(step) for done in (*lots, *steps) for step in done) == {
        Entry: 4458,
        Sale: 19_329,
        Return: 303,
        Earn: 678,
        Reversal: 34,
    }
