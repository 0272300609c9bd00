"""The picture of the index: topics and agents in layers, with what there is to know about each.

Layers run from left to right: topics that nobody of ours writes, the agents that read them, what these publish, the
agents that read that, and so on. An agent may publish to a topic that it reads; such an edge runs backwards.
"""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel

from streams.routing import Index, Route
from streams.topics import Topic, changelog_topic, dead_letter_topic


class RouteFacts(BaseModel):
    """One row of the index, by record names."""

    event: str
    topic: str
    agent: str
    emits: list[str]


class Node(BaseModel):
    """A topic, or an agent with its table."""

    id: str
    kind: str
    name: str
    layer: int
    facts: dict[str, str]
    records: list[str]


class Edge(BaseModel):
    """From a topic to the agent that reads it, or from an agent to a topic it publishes on."""

    source: str
    target: str
    records: list[str]
    back: bool


class Topology(BaseModel):
    """All of it."""

    nodes: list[Node]
    edges: list[Edge]
    routes: list[RouteFacts]


def topology(index: Index, app_id: str, partitions: int) -> Topology:
    """Return the picture of an index."""
    links = _links(index)
    layers = _layers(index, links)
    topics = {route.topic.name: route.topic for route in index.routes}
    topics |= {output.topic.name: output.topic for output in index.outputs.values()}
    drawn = {name for link in links for name in link}
    nodes = [
        _topic(
            topic, layers[topic_id(name)], partitions, read=any(r.topic.name == name for r in index.routes)
        )
        for name, topic in topics.items()
        if topic_id(name) in drawn
    ]
    nodes += [
        _agent(aggregate.name, layers[agent_id(aggregate.name)], index, app_id)
        for aggregate in index.aggregates
    ]
    edges = [
        Edge(source=source, target=target, records=records, back=layers[target] <= layers[source])
        for (source, target), records in links.items()
    ]
    return Topology(nodes=nodes, edges=edges, routes=[_route(route) for route in index.routes])


def topic_id(name: str) -> str:
    """Return the id of a topic's node."""
    return f"topic:{name}"


def agent_id(name: str) -> str:
    """Return the id of an agent's node; a table may have the name of a topic."""
    return f"agent:{name}"


def _route(route: Route) -> RouteFacts:
    emits = [event.__name__ for event in route.emits]
    return RouteFacts(
        event=route.event.__name__, topic=route.topic.name, agent=route.aggregate.name, emits=emits
    )


def _links(index: Index) -> dict[tuple[str, str], list[str]]:
    """Return the records on each edge, by its two ends."""
    links: dict[tuple[str, str], dict[str, None]] = {}
    for route in index.routes:
        agent = agent_id(route.aggregate.name)
        links.setdefault((topic_id(route.topic.name), agent), {})[route.event.__name__] = None
        for event in route.emits:
            target = topic_id(index.outputs[event].topic.name)
            links.setdefault((agent, target), {})[event.__name__] = None
    return {link: list(records) for link, records in links.items()}


def _layers(index: Index, links: Collection[tuple[str, str]]) -> dict[str, int]:
    """Return the layer of each node: right of all that leads to it, save over edges that close a circle."""
    known = set(links)
    after: dict[str, list[str]] = {name: [] for link in links for name in link}
    written = set()
    for source, target in links:
        to_itself = source.startswith("agent:") and (target, source) in known
        if not to_itself:
            after[source].append(target)
            written.add(target)
    layers = dict.fromkeys(after, 0)
    on_the_way: list[str] = []
    finished: list[str] = []
    forward: dict[str, list[str]] = {name: [] for name in after}

    def visit(name: str) -> None:
        on_the_way.append(name)
        for target in after[name]:
            if target in on_the_way:
                continue
            forward[name].append(target)
            if target not in finished:
                visit(target)
        on_the_way.pop()
        finished.append(name)

    for name in sorted(
        after, key=lambda name: name in written
    ):  # from the sources, so that circles close at them
        if name not in finished:
            visit(name)
    for name in reversed(finished):
        for target in forward[name]:
            layers[target] = max(layers[target], layers[name] + 1)
    for route in index.routes:  # a source stands right before its reader
        source = topic_id(route.topic.name)
        if source not in written:
            layers[source] = layers[agent_id(route.aggregate.name)] - 1
    return layers


def _topic(topic: Topic, layer: int, partitions: int, *, read: bool) -> Node:
    kept = "latest record of each key" if topic.cleanup == "compact" else _kept(topic.retention_ms)
    facts = {"key": topic.key, "kept": kept, "partitions": str(partitions)}
    if read:
        facts["dead letters"] = dead_letter_topic(topic.name)
    records = [name.rpartition(".")[2] for name in topic.records]
    return Node(
        id=topic_id(topic.name), kind="topic", name=topic.name, layer=layer, facts=facts, records=records
    )


def _kept(retention_ms: int) -> str:
    return "for ever" if retention_ms < 0 else f"{retention_ms / 86_400_000:g} days"


def _agent(name: str, layer: int, index: Index, app_id: str) -> Node:
    [aggregate] = [each for each in index.aggregates if each.name == name]
    facts = {
        "reads": ", ".join(topic.name for topic in index.sources(name)),
        "rules": f"tables/{name}.py",
        "changelog": changelog_topic(name, app_id),
    }
    records = [record.__name__ for record in aggregate.records]
    return Node(id=agent_id(name), kind="agent", name=name, layer=layer, facts=facts, records=records)
