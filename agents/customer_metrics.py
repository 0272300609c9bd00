"""What is counted of customers: loyalty points that moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from prometheus_client.metrics_core import Metric

from streams.app import SluiceApp
from streams.events import (
    LoyaltyPointsEarned,
    LoyaltyPointsExpired,
    LoyaltyPointsRedeemed,
    LoyaltyPointsReversed,
)
from streams.metrics_families import family
from streams.partition import Partition

MOVEMENTS: Final[dict[type[Any], str]] = {
    LoyaltyPointsEarned: "issued",
    LoyaltyPointsRedeemed: "redeemed",
    LoyaltyPointsExpired: "expired",
}
REVERSALS: Final = {"EARN": "taken_back", "REDEMPTION": "given_back"}


class LoyaltyMetrics:
    """Counts for a worker's customer table."""

    def __init__(self, app: SluiceApp) -> None:
        """Add them to the worker's metrics."""
        self._points: Counter[tuple[str]] = Counter(
            {(movement,): 0 for movement in (*MOVEMENTS.values(), *REVERSALS.values())}
        )
        app.metrics.observers["customer"] = self.observe
        app.metrics.sources.append(self.families)

    def observe(self, partition: Partition) -> None:
        """Count the points that a unit of work moves."""
        for fact in partition.facts:
            movement = _movement(fact)
            if movement is not None:
                self._points[(movement,)] += fact.points

    def families(self) -> Iterator[Metric]:
        """Yield what was counted."""
        yield family("sluice_loyalty_points_total", self._points)


def _movement(fact: Any) -> str | None:
    if type(fact) is LoyaltyPointsReversed:
        return REVERSALS.get(fact.kind)
    return MOVEMENTS.get(type(fact))
