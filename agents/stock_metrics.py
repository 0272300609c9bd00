"""What is counted of stock: how many products are low. The rest are facts, which every agent's are counted as."""

from __future__ import annotations

from collections.abc import Iterator

from streams.app import SluiceApp
from streams.events import StockHead
from streams.metrics_census import Question
from streams.reading import StoredState
from tables.stock_names import HEAD


def count_stock(app: SluiceApp) -> None:
    """Add the count to a worker's metrics."""
    app.census.questions.append(Question("sluice_stock_low_products", "stock", (HEAD,), low, [()]))


def low(state: StoredState) -> Iterator[tuple[()]]:
    """Yield once where a product is low in a warehouse."""
    head: StockHead | None = state.get(HEAD)
    if head is not None and head.low_since is not None:
        yield ()
