"""A selection is exactly the letters that were looked at, and what is sent is exactly what had come."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops.dlq_cli import time_of
from ops.dlq_producer import home_of, original
from ops.dlq_selection import Selection, load, save
from ops.dlq_sending import CHUNK, CHUNK_BYTES, chunks, sorted_out
from ops.errors import OpsError
from streams.topics import partition_for
from tests.unit.ops.dlq_world import DEAD, TOPIC, Dead, places

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def three() -> Dead:
    dead = Dead()
    for offset in (1, 2, 3):
        dead.die(offset, f"k{offset}".encode())
    return dead


def selected(dead: Dead) -> Selection:
    return Selection.of(TOPIC, dead.letters().in_order())


def test_a_selection_comes_back_from_its_file_and_holds_no_keys(tmp_path: Path) -> None:
    made = selected(three())
    save(made, tmp_path / "these.json")
    assert load(tmp_path / "these.json") == made
    assert "k1" not in (tmp_path / "these.json").read_text()
    with pytest.raises(OpsError, match="already a file"):
        save(made, tmp_path / "these.json")


def test_a_file_that_was_changed_or_is_no_selection_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "these.json"
    save(selected(three()), file)
    content = json.loads(file.read_text())
    for change in (
        {"letters": content["letters"][:2]},
        {"letters": [*content["letters"], {**content["letters"][0], "offset": 9}]},
        {"topic": "usage.commands"},
    ):
        file.write_text(json.dumps(content | change))
        with pytest.raises(OpsError, match="was changed"):
            load(file)
    for text in ("", "[]", json.dumps(content | {"kind": "other"}), json.dumps(content | {"more": 1})):
        file.write_text(text)
        with pytest.raises(OpsError, match="is no selection"):
            load(file)
    with pytest.raises(OpsError, match="cannot be read"):
        load(tmp_path / "none.json")


def test_letters_that_arrive_later_are_not_in_it_and_resolved_ones_are_skipped() -> None:
    dead = three()
    selection = selected(dead)
    dead.die(4, b"k1")
    dead.mark(dead.records[1], "discarded")
    wanted, rows = sorted_out(selection, dead.letters(), again=False)
    assert places(wanted) == [(1, 0), (1, 2)]
    [row] = rows
    assert (row.letter, row.result, row.key) == (f"{DEAD}/1/1", "skipped", "k2")
    assert row.detail.startswith("discarded 20")
    wanted, rows = sorted_out(selection, dead.letters(), again=True)
    assert (places(wanted), rows) == ([(1, 0), (1, 1), (1, 2)], [])


def test_what_retention_has_removed_is_told_and_another_letter_in_its_place_is_refused() -> None:
    dead = three()
    selection = selected(dead)
    wanted, rows = sorted_out(selection, Dead(dead.records[1:]).letters(), again=False)
    assert places(wanted) == [(1, 1), (1, 2)]
    assert [(row.letter, row.result) for row in rows] == [(f"{DEAD}/1/0", "gone")]
    anew = Dead()
    anew.die(1, b"k1", b"other bytes")
    with pytest.raises(OpsError, match="another dead letter than the one that was selected"):
        sorted_out(selection, anew.letters(), again=True)


def test_an_event_goes_as_it_came_with_the_place_of_its_letter() -> None:
    headers = [("ce_id", b"e1"), ("ce_id", b"e1"), ("x", None)]
    dead = Dead()
    stored = dead.die(1, b"acme", b"\x00bytes", headers=headers)
    sent = original(stored)
    assert (sent.key, sent.value, sent.edited) == (b"acme", b"\x00bytes", False)
    assert sent.headers == [*headers, ("x-replayed-from", f"{DEAD}/1/0".encode())]


def test_an_event_that_died_after_a_replay_tells_of_both_letters() -> None:
    dead = Dead()
    first = original(dead.die(1))
    again = original(dead.die(9, headers=first.headers))
    assert [value for name, value in again.headers if name == "x-replayed-from"] == [
        f"{DEAD}/1/0".encode(),
        f"{DEAD}/1/1".encode(),
    ]
    assert [letter.replays for letter in dead.letters().in_order()] == [0, 1]


def test_an_event_goes_to_the_partition_of_its_key_and_without_one_where_it_was() -> None:
    dead = Dead()
    assert home_of(b"acme", dead.die(1, partition=3), 4) == partition_for(b"acme", 4)
    for key in (None, b""):
        assert home_of(key, dead.die(1, key, partition=3), 4) == 3
    foreign = dead.append(2, None, b"v", [("__streams.errors.partition", b"x")])
    assert home_of(None, foreign, 4) == 2


def test_transactions_are_short_in_number_and_in_bytes_and_a_large_letter_has_its_own() -> None:
    dead = Dead()
    for offset in range(CHUNK + 1):
        dead.die(offset, value=b"v")
    assert [len(chunk) for chunk in chunks(dead.letters().in_order())] == [CHUNK, 1]
    large = Dead()
    for offset, size in enumerate((CHUNK_BYTES + 1, 10, CHUNK_BYTES - 10, 1)):
        large.die(offset, value=bytes(size))
    assert [len(chunk) for chunk in chunks(large.letters().in_order())] == [1, 2, 1]
    assert list(chunks([])) == []


def test_times_are_said_as_such_or_as_so_long_ago() -> None:
    assert time_of("90m", NOW) == NOW - timedelta(minutes=90)
    assert time_of("2d", NOW) == NOW - timedelta(days=2)
    assert time_of("2026-11-20T12:00:00+01:00", NOW) == datetime(2026, 11, 20, 11, tzinfo=UTC)
    assert time_of("2026-11-20", NOW) == datetime(2026, 11, 20, tzinfo=UTC)
    for text in ("soon", "2x", "-1h"):
        with pytest.raises(OpsError, match="is no time"):
            time_of(text, NOW)
