"""What the exporter tells: everything while the brokers answer, and no old number while they do not."""

from __future__ import annotations

from ops.exporter_metrics import METRICS, families
from ops.exporter_reading import Behind, Seen

SEEN = Seen({("usage.metered", 1): Behind(7, 2.5)}, members=2, open_letters={"usage.metered": 3})


def told(seen: Seen | None, *, registry: bool = True) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return the samples by name."""
    return {
        family.name: [(sample.labels, sample.value) for sample in family.samples]
        for family in families(seen, 0.2, registry=registry)
    }


def test_what_was_seen_is_told_under_the_names_of_the_catalogue() -> None:
    found = told(SEEN)
    place = {"topic": "usage.metered", "partition": "1"}
    assert found["sluice_group_lag_records"] == [(place, 7)]
    assert found["sluice_group_lag_seconds"] == [(place, 2.5)]
    assert found["sluice_group_members"] == [({}, 2)]
    assert found["sluice_dead_letters_open"] == [({"topic": "usage.metered"}, 3)]
    assert found["sluice_exporter_look_seconds"] == [({}, 0.2)]
    assert {row.name for row in METRICS} == found.keys() - {
        "sluice_broker_reachable",
        "sluice_registry_reachable",
    }


def test_nothing_old_is_told_while_the_brokers_do_not_answer() -> None:
    assert told(None, registry=False) == {
        "sluice_broker_reachable": [({}, 0)],
        "sluice_registry_reachable": [({}, 0)],
        "sluice_exporter_look_seconds": [({}, 0.2)],
    }
