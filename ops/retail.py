"""The week of a real web shop: the rows of "Online Retail" (UCI Machine Learning Repository) in file order.

What is sent for a row is in ``ops.retail_steps``; what must have come of all rows is in ``ops.retail_truth``,
which shares only this reader with it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from ops.errors import OpsError

RETAIL = Path(__file__).with_name("data") / "online-retail-2010-12-01_08.csv"
COLUMNS = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
]
WAREHOUSE = "WH1"
TENANT = "shop"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of an invoice.

    Attributes:
        invoice: its number; one that begins with C is a cancellation.
        product: the StockCode, as it is in the file.
        quantity: pieces; negative where they came back. Never 0.
        at: when, on the shop's clock taken as UTC.
        price: of one piece.
        customer: the CustomerID without its ``.0``; empty where the file has none.
    """

    invoice: str
    product: str
    quantity: int
    at: datetime
    price: Decimal
    customer: str

    @property
    def cancels(self) -> bool:
        """Whether the invoice is a cancellation."""
        return self.invoice.startswith("C")


def read_online_retail(file: Path) -> list[Row]:
    """Return the rows in file order. Raises OpsError where it is another."""
    remedy = f"Give a CSV file with the columns {','.join(COLUMNS)}, such as {RETAIL}."
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.reader(stream)
            if next(lines, None) != COLUMNS:
                raise OpsError(f"{file} is not an online-retail file: its columns are others.", remedy)
            rows = [_row(number, line) for number, line in enumerate(lines)]
    except OSError as error:
        raise OpsError(f"{file} cannot be read: {error.strerror}.", remedy) from error
    except ValueError as error:
        raise OpsError(f"{file} is not an online-retail file: {error}.", remedy) from error
    if not rows:
        raise OpsError(f"{file} holds no rows.", remedy)
    return rows


def _row(number: int, line: list[str]) -> Row:
    try:
        invoice, product, _, quantity, at, price, customer, _ = line
        row = Row(
            invoice,
            product,
            int(quantity),
            datetime.fromisoformat(at).replace(tzinfo=UTC),
            Decimal(price),
            customer.removesuffix(".0"),
        )
    except (ValueError, InvalidOperation) as error:
        raise ValueError(f"row {number}: {error or 'not a number'}") from error
    if row.quantity == 0 or (row.cancels and row.quantity > 0):
        raise ValueError(f"row {number}: a quantity of {quantity} in invoice {invoice}")
    return row
