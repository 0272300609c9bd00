"""Loyalty at full load: customers earn with every other command, redeem, and have points taken back."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from streams.events import LoyaltyPointsReverseRequested, LoyaltyPointsUpdateRequested
from streams.topics import CUSTOMER_COMMANDS, CUSTOMER_EVENTS, key_of
from tests.bench.pipeline_job import Frames, Ids, Job, Load, writer

CUSTOMERS = 5_000
TENANT = "bench"
EARNED, REDEEMED, REVERSED = 100, -140, 30
"""Of four commands two earn, one redeems and one reverses, so a balance is never too small for what is redeemed."""

RECORDS = (LoyaltyPointsUpdateRequested, LoyaltyPointsReverseRequested)


def loyalty_job(count: int) -> Job:
    """Return the job of ``count`` commands over customers that are not known before."""
    customers = min(CUSTOMERS, max(1, count // 20))
    load = Load(CUSTOMER_COMMANDS.name, RECORDS, lambda ids: commands(ids, count, customers))
    return Job("loyalty", None, load, (CUSTOMER_EVENTS.name,))


def commands(ids: Ids, count: int, customers: int) -> Frames:
    """Yield commands to customers in random order; each one's own are earn, earn, redeem, reverse, and again."""
    update, reverse = (writer(record, ids[record]) for record in RECORDS)
    now = datetime.now(UTC)
    done = [0] * customers
    pick = random.Random(1).randrange
    for _ in range(count):
        number = pick(customers)
        step = done[number]
        done[number] += 1
        customer = f"customer-{number}"
        value: dict[str, Any] = {
            "event_id": f"{customer}-{step}",
            "timestamp": now,
            "tenant_id": TENANT,
            "transaction_id": f"step-{step}",
            "customer_id": customer,
            "reason": "bench",
        }
        key = key_of(TENANT, customer)
        if step % 4 == 3:
            taken = {"original_transaction_id": f"step-{step - 2}", "points": REVERSED}
            yield key, reverse(value | taken)
        elif step % 4 == 2:
            yield key, update(value | {"points_change": REDEEMED})
        else:
            expires = now + timedelta(days=365)
            given = {"points_change": EARNED, "expires_at": expires, "auto_create": True}
            yield key, update(value | given)
