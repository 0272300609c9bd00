"""The picture of the index: every route is in it, and it runs from left to right."""

from __future__ import annotations

from ops.console_topology import Topology, agent_id, topic_id, topology
from streams.routes import INDEX

DRAWN: Topology = topology(INDEX, "sluice", 4)
LAYERS = {node.id: node.layer for node in DRAWN.nodes}


def test_every_route_and_every_output_of_it_is_on_an_edge() -> None:
    on = {(edge.source, edge.target): set(edge.records) for edge in DRAWN.edges}
    for route in INDEX.routes:
        agent = agent_id(route.aggregate.name)
        assert route.event.__name__ in on[topic_id(route.topic.name), agent]
        for event in route.emits:
            assert event.__name__ in on[agent, topic_id(INDEX.outputs[event].topic.name)]
    assert [route.event for route in DRAWN.routes] == [route.event.__name__ for route in INDEX.routes]


def test_edges_lead_to_the_right_but_for_those_back_to_what_an_agent_reads_itself() -> None:
    assert all(LAYERS[edge.source] < LAYERS[edge.target] for edge in DRAWN.edges if not edge.back)
    back = {(edge.source, edge.target) for edge in DRAWN.edges if edge.back}
    assert back == {
        ("agent:stock", "topic:stock.commands"),
        ("agent:notification", "topic:notification.commands"),
    }


def test_a_topic_that_only_others_write_stands_right_before_its_reader() -> None:
    assert (
        LAYERS["topic:realtime.push"] == LAYERS["agent:notification"] - 1 > LAYERS["topic:usage.metered"] == 0
    )


def test_a_layer_holds_either_topics_or_agents() -> None:
    kinds: dict[int, set[str]] = {}
    for node in DRAWN.nodes:
        kinds.setdefault(node.layer, set()).add(node.kind)
    assert [kinds[layer] for layer in sorted(kinds)] == [{"topic"}, {"agent"}] * 3 + [{"topic"}]


def test_a_topic_tells_its_key_its_records_and_where_its_dead_letters_go() -> None:
    [metered] = [node for node in DRAWN.nodes if node.id == "topic:usage.metered"]
    assert metered.records == ["UsageEvent"]
    assert metered.facts == {
        "key": "tenant_id",
        "kept": "35 days",
        "partitions": "4",
        "dead letters": "usage.metered.dlq",
    }
