"""``sluice verify``: compares what the views of the workers show with a count made from the file alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from ops.errors import OpsError
from ops.lag import Lag
from ops.retail import WAREHOUSE
from ops.retail_truth import Truth
from ops.verify_views import Views, each
from streams.settings import Settings, reveal
from streams.topics import CUSTOMER_COMMANDS, STOCK_COMMANDS

LOOK_SECONDS = 0.2
ON_HAND, RESERVED = "all lots", "reserved"
SOURCES = (STOCK_COMMANDS.name, CUSTOMER_COMMANDS.name)


@dataclass(frozen=True, slots=True)
class Difference:
    """One number that is not what it should be.

    Attributes:
        kind: ``stock`` or ``loyalty``.
        subject: the product or the customer.
        what: the lot, all lots, what is reserved, or the name of the number.
        expected: what follows from the file.
        found: what the view shows; None where it knows nothing of the subject.
    """

    kind: str
    subject: str
    what: str
    expected: int
    found: Decimal | None


def verify(
    settings: Settings,
    truth: Truth,
    tenant: str,
    url: str,
    patience: float,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Difference]:
    """Return every difference between the views and the truth, once the workers have processed all commands.

    Args:
        settings: of the cluster and the workers.
        truth: what must have come of the file.
        tenant: whose shop it is.
        url: of any worker; it asks the others for what they own.
        patience: seconds that the workers may need to process what is left, and to be ready.
        progress: told how many products and customers have been compared.

    Raises:
        OpsError: workers, views or broker are not there, or not done in time.
    """
    deadline = time.monotonic() + patience
    await_processed(settings, deadline)
    left = max(deadline - time.monotonic(), 1.0)
    return asyncio.run(_compared(settings, truth, tenant, url, left, progress))


def await_processed(settings: Settings, deadline: float) -> None:
    """Return when no worker has a command of stock or customers left to process. Raises OpsError after ``deadline``."""
    lag = Lag(settings, SOURCES)
    while (rest := lag.count()) > 0:
        if time.monotonic() > deadline:
            raise OpsError(
                f"{rest} commands are not processed yet.",
                "Start workers with `sluice worker`; --wait gives them more time.",
            )
        time.sleep(LOOK_SECONDS)


async def _compared(
    settings: Settings,
    truth: Truth,
    tenant: str,
    url: str,
    patience: float,
    progress: Callable[[int], None],
) -> list[Difference]:
    differences: list[Difference] = []
    done = 0

    def note(found: Iterable[Difference]) -> None:
        nonlocal done
        differences.extend(found)
        done += 1
        progress(done)

    async with Views(url, reveal(settings.web_token), patience) as views:

        async def product(name: str) -> None:
            found = await views.read(stock_path(name), tenant=tenant)
            note(stock_differences(name, truth.lots[name], found))

        async def customer(name: str) -> None:
            found = await views.read(loyalty_path(name), tenant=tenant)
            note(loyalty_differences(name, truth.accounts[name].totals, found))

        try:
            await each(truth.lots, product)
            await each(truth.accounts, customer)
        except* OpsError as refusals:
            raise refusals.exceptions[0] from None
    return sorted(differences, key=lambda found: (found.kind, found.subject, found.what))


def stock_path(product: str) -> str:
    """Return the view of a product with all of its lots."""
    return f"/stock/{quote(product, safe='')}/{WAREHOUSE}"


def loyalty_path(customer: str) -> str:
    """Return the view of a customer's points."""
    return f"/customers/{quote(customer, safe='')}/loyalty"


def stock_differences(
    product: str, wanted: Mapping[str, int], found: Mapping[str, Any] | None
) -> list[Difference]:
    """Return the lots whose pieces on hand are not those wanted, and what is still reserved, though all has left.

    A lot that is empty may be absent.
    """
    if found is None:
        return [Difference("stock", product, lot, pieces, None) for lot, pieces in wanted.items()]
    shown = {str(lot["lot_id"]): Decimal(lot["on_hand"]) for lot in found["lots"]}
    expected = {**dict.fromkeys(shown, 0), **wanted, ON_HAND: sum(wanted.values()), RESERVED: 0}
    shown |= {ON_HAND: Decimal(found["on_hand"]), RESERVED: Decimal(found["reserved"])}
    return [
        Difference("stock", product, what, pieces, shown.get(what, Decimal(0)))
        for what, pieces in expected.items()
        if shown.get(what, Decimal(0)) != pieces
    ]


def loyalty_differences(
    customer: str, wanted: Mapping[str, int], found: Mapping[str, Any] | None
) -> list[Difference]:
    """Return the numbers of a customer that are not those wanted."""
    if found is None:
        return [Difference("loyalty", customer, name, points, None) for name, points in wanted.items()]
    return [
        Difference("loyalty", customer, name, points, Decimal(found[name]))
        for name, points in wanted.items()
        if Decimal(found[name]) != points
    ]
