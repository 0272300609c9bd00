"""Lists that are spread over the workers and, on each of them, over many aggregates.

No worker ever holds such a list: it reads a few aggregates at a time, and keeps of what it finds the beginning only,
as far as the page goes that is asked for. Whoever was asked merges the beginnings of all workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from streams.reading import ALL, StoredState
from streams.web_peers import Part, merged
from streams.web_views import Call, PageQuery, PaginatedResult, page_of

Item = TypeVar("Item", bound=BaseModel)

Model = Callable[[list[tuple[str, StoredState]]], list[dict[str, Any]]]
"""``[(key, state)] -> items``, of some aggregates; in any order."""


@dataclass(frozen=True, slots=True)
class Spread(Generic[Item]):
    """A kind of list.

    Attributes:
        table: where its aggregates are.
        item: model of an item.
        part: of what one worker has of the list.
        answer: of the whole.
        order: ``item -> key`` by which the items are sorted.
        prefixes: with which the names of the records begin that items are made of.
    """

    table: str
    item: type[Item]
    part: type[Part[Item]]
    answer: type[PaginatedResult[Item]]
    order: Callable[[Item], Any]
    prefixes: Sequence[str] = ALL

    async def read(self, call: Call, model: Model, start: str = "") -> BaseModel:
        """Return the page that a call asks for, or this worker's part where another one merges.

        Args:
            call: its query is a ``PageQuery``.
            model: makes the items.
            start: with which the keys of the list's aggregates begin.

        Raises:
            What ``Reader.chunks`` and ``Peers.gather`` raise.
        """
        asked: PageQuery = call.query

        async def own() -> Part[Item]:
            partitions = sorted(call.reader.owned(self.table))
            first: list[Item] = []
            total = 0
            async for chunk in call.reader.chunks(self.table, start, self.prefixes):
                found = [self.item.model_validate(item) for item in model(chunk)]
                total += len(found)
                first = sorted([*first, *found], key=self.order)[: asked.page * asked.per_page]
            return self.part(partitions=partitions, total=total, items=first)

        if call.peers.is_forwarded(call.request):
            return await own()
        parts = await call.peers.gather(call.request, self.table, self.part, own)
        items, total = merged(parts, self.order)
        return self.answer.model_validate(page_of(items, asked, total))
