"""What a row of the index (``streams.routes``) says, and the index as the pipeline looks things up in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from streams.topics import Topic
from tables.state import Aggregate


def is_command(record: type) -> bool:
    """Return whether a record asks for something, by its name (design/architecture.md)."""
    return record.__name__.endswith("Requested")


def is_refusal(record: type) -> bool:
    """Return whether a record says that something was refused, by its name (design/architecture.md)."""
    return record.__name__.endswith("Rejected")


@dataclass(frozen=True, slots=True)
class Route:
    """An event that arrives: where, whose it is, and what may come of it.

    Attributes:
        event: record type of the event.
        topic: topic on which it arrives.
        aggregate: the rules that answer it.
        key: ``event -> key of its aggregate``; a record under another key is dead-lettered (KEY_MISMATCH), or
            forwarded where only the tenant's part is missing.
        emits: record types that the rules may publish in answer.
        identity: ``event -> id`` by which a repetition is recognised, such as a movement's, named with its kind; None,
            or an empty answer: the event's own id. The same id with another body is a conflict (contracts 3.1).
        answered: whether a reply may be asked for.
        quick: neither a reply nor a business id: the pipeline's loop takes it without a further call.
    """

    event: type
    topic: Topic
    aggregate: Aggregate
    key: Callable[[Any], str]
    emits: tuple[type, ...] = ()
    identity: Callable[[Any], str] | None = None
    answered: bool = field(init=False)
    quick: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "answered", is_command(self.event))
        object.__setattr__(self, "quick", not self.answered and self.identity is None)


@dataclass(frozen=True, slots=True)
class Output:
    """A record type that is published.

    Attributes:
        event: record type.
        topic: topic it is published on.
        key: ``event -> key`` under which it is published.
    """

    event: type
    topic: Topic
    key: Callable[[Any], str]


class Index:
    """Routes and outputs, by what the pipeline has in hand.

    Attributes:
        shared: compacted topics that every worker reads whole (``streams.replica``).
    """

    def __init__(
        self, routes: Iterable[Route], outputs: Iterable[Output], shared: Iterable[Topic] = ()
    ) -> None:
        """Check the rows against each other.

        Raises:
            ValueError: two rows for one event of a topic, two aggregates that read one topic, or an event that may be
                emitted has no output.
        """
        self.routes = tuple(routes)
        self.shared = tuple(shared)
        self.outputs = {output.event: output for output in outputs}
        self._by_topic: dict[str, dict[type, Route]] = {}
        for route in self.routes:
            known = self._by_topic.setdefault(route.topic.name, {})
            if route.event in known:
                raise ValueError(f"two routes for {route.event.__name__} on {route.topic.name}")
            others = {each.aggregate.name for each in known.values()} - {route.aggregate.name}
            if others:
                raise ValueError(
                    f"{route.topic.name} is read by {route.aggregate.name} and {others.pop()}: a topic's offsets are "
                    "one table's; give the second one a topic of its own"
                )
            known[route.event] = route
            missing = [event.__name__ for event in route.emits if event not in self.outputs]
            if missing:
                raise ValueError(
                    f"{route.event.__name__} may emit {missing}, which have no output: add a row"
                )

    def on(self, topic: str) -> dict[type, Route]:
        """Return the routes of a topic by event type."""
        return self._by_topic[topic]

    @cached_property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """The aggregates, each once."""
        return tuple({route.aggregate.name: route.aggregate for route in self.routes}.values())

    def sources(self, aggregate: str) -> tuple[Topic, ...]:
        """Return the topics whose events an aggregate answers."""
        return tuple(
            {
                route.topic.name: route.topic for route in self.routes if route.aggregate.name == aggregate
            }.values()
        )
