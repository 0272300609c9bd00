"""Effects: what has to be done in the outside world, ordered by the records of a topic (contracts 3.4).

Rules are pure and may be run again; an e-mail may not. So a rule publishes an *order*, and an effect service, with
a consumer group of its own, carries out each order and publishes the *answer* to the aggregate before it commits:

1 take     the order, and claim it (``streams.effects_orders``)
2 doubt    was it claimed by an earlier owner, or published long after it was decided (a rebuild repeats orders)?
           Then the answers of the last hour are read, and an order that has one is not carried out again
3 perform  with the order's own id; ``doubtful`` where an earlier owner may have done the same
4 answer   publish, and await the broker's acknowledgement; only then the order's offset may be committed
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from prometheus_client.metrics_core import Metric

from streams.dead_letters import DeadLetters
from streams.effects_lanes import Lane
from streams.effects_orders import Orders
from streams.effects_reading import answered_orders
from streams.failures import Failure, classify
from streams.log_records import about
from streams.metrics_families import family
from streams.outbox import Outgoing, Target
from streams.publisher import Publisher
from streams.refusals import unroutable
from streams.topics import Topic
from streams.tracing import continues
from streams.web_health import Check, checked

if TYPE_CHECKING:
    from streams.app import SluiceApp

log = logging.getLogger(__name__)

PROMPT_MS = 1_000
"""An order is published so soon after the event that it answers, while all goes well."""
CLOCKS_APART = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of effect.

    Attributes:
        name: of the service; its group is ``<app_id>-<name>``.
        orders: topic with the orders.
        order: their record type.
        answers: topic on which they are answered, under the same key.
        answer: record type of the answers.
        fresh: age at which an order is not carried out any more, but only answered.
        urgency: ``order -> number``; higher goes first.
    """

    name: str
    orders: Topic
    order: type
    answers: Topic
    answer: type
    fresh: timedelta
    urgency: Callable[[Any], int]


Perform = Callable[[Any, bool], Awaitable[Sequence[Any]]]
"""``(order, doubtful) -> what to publish``, the answer among it. Takes care of its own time-outs."""


class Effects:
    """Carries out the orders of one kind, in the background of a worker.

    Attributes:
        counts: orders by how they ended: answered, known (answered before) or dead_lettered.
        component_name: of the service, in ``/health``.
    """

    def __init__(self, app: SluiceApp, kind: Kind, perform: Perform) -> None:
        self.counts: Counter[str] = Counter()
        self._app = app
        self._kind = kind
        self._perform = perform
        self._group = f"{app.settings.app_id}-{kind.name}"
        self._orders = Orders(app, kind.orders.name, self._group, self._carry_out, self._urgency)
        self._task: asyncio.Task[None] | None = None
        self.component_name = kind.name
        app.health.append(self)
        app.metrics.sources.append(self._metrics)

    async def start(self) -> None:
        """Begin in the background; brokers that do not answer are asked again. The app's codec must be prepared."""
        settings = self._app.settings
        trace = continues(self._app.tracing, self._group)
        self._publisher = Publisher(
            self._app.index, self._app.codec, settings.partitions, settings.app_id, trace
        )
        self._dead_letters = DeadLetters(self._publisher, self._group, self._kind.name)
        self._task = asyncio.create_task(self._orders.take_all(), name=self._group)

    async def stop(self) -> None:
        """Finish what is being carried out, commit and leave. The app's producer must still run."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def _metrics(self) -> Iterator[Metric]:
        service = self._kind.name
        ended = {(service, outcome): times for outcome, times in self.counts.items()}
        yield family("sluice_effects_total", ended)
        yield family("sluice_effects_under_way", {(service,): self._orders.unfinished})

    async def check_health(self) -> Check:
        """Return whether orders are taken; one that fails is answered, and is no fault of the service."""
        wrong = self._orders.wrong
        reason = {"reason": wrong} if wrong else {}
        return checked(
            self.component_name, not wrong, time.time(), under_way=self._orders.unfinished, **reason
        )

    def _urgency(self, event: Any) -> int:
        return self._kind.urgency(event) if type(event) is self._kind.order else 0

    async def _carry_out(self, lane: Lane, record: Any, event: Any) -> None:
        tracing = self._app.tracing
        with tracing.order(self._kind.name, self._group, record) if tracing is not None else nullcontext():
            await self._end(lane, record, event)

    async def _end(self, lane: Lane, record: Any, event: Any) -> None:
        if type(event) is not self._kind.order:
            await self._dead_letter(record, event, unroutable(event, record.topic))
        elif await self._is_answered(lane, record, event):
            self.counts["known"] += 1
        else:
            await self._answer(lane, record, event)

    async def _answer(self, lane: Lane, record: Any, event: Any) -> None:
        try:
            facts = await self._perform(event, record.offset <= lane.doubtful)
            outputs: dict[Target, list[Outgoing]] = {}
            for index, fact in enumerate(facts):
                # Two answers to one order may differ, so each one has an id of its own.
                name = f"{index}/{time.time_ns()}"
                sent = self._publisher.publish(fact, record.topic, record.partition, record, name, event)
                if sent is not None:
                    outputs.setdefault(sent[0], []).append(sent[1])
        except Exception as error:
            failure = classify(error)
            if failure.kind == "fatal":
                raise
            await self._dead_letter(record, event, failure)
            return
        await self._send(outputs)
        if lane.answered is not None:
            lane.answered.add(event.event_id)
        self.counts["answered"] += 1

    async def _dead_letter(self, record: Any, event: Any, failure: Failure) -> None:
        log.error(
            "an order is not carried out: %s",
            failure.message,
            extra=about(record.topic, record.partition, record, event)
            | {"agent": self._kind.name, "outcome": "dead_lettered", "code": failure.code},
        )
        letters = self._dead_letters.of(record.topic, record.partition, record, event, failure)
        await self._send({target: [outgoing] for target, outgoing in letters})
        self._app.metrics.dead_letter(record.topic, failure.code)
        self.counts["dead_lettered"] += 1

    async def _send(self, outputs: dict[Target, list[Outgoing]]) -> None:
        await self._app.outputs.send(outputs)
        self._app.metrics.published(self._kind.name, outputs)

    async def _is_answered(self, lane: Lane, record: Any, event: Any) -> bool:
        late = record.timestamp - event.timestamp.timestamp() * 1000 > PROMPT_MS
        if not late and record.offset > lane.doubtful:
            return False
        async with lane.finding_out:
            if lane.answered is None:
                since = time.time() - (self._kind.fresh + CLOCKS_APART).total_seconds()
                lane.answered = await answered_orders(
                    self._app.settings,
                    self._kind.answers.name,
                    record.partition,
                    self._kind.answer.TYPE,  # type: ignore[attr-defined]
                    int(since * 1000),
                )
        return event.event_id in lane.answered
