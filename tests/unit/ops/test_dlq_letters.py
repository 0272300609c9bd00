"""Dead letters are read back as they were written, each once, in order, and markers say what became of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ops.dlq_fold import Query, left_behind, matching
from ops.dlq_letters import (
    ORIGIN,
    Place,
    Stored,
    digest_of,
    key_text,
    letter_of,
    original_headers,
    place_of,
    source_of,
)
from tests.unit.ops.dlq_world import DEAD, START_MS, TOPIC, Dead, dead_headers, places

ORIGINAL = [("ce_id", b"e1"), ("ce_type", b"usage.x"), ("note", None), ("ce_id", b"e2"), ("raw", b"\xff")]


def test_the_headers_of_the_event_come_back_byte_for_byte_however_often_it_died() -> None:
    once = dead_headers(ORIGINAL, 1, 7)
    assert original_headers(once) == ORIGINAL
    assert original_headers(dead_headers(once, 1, 9)) == ORIGINAL


def test_a_letter_says_what_its_last_death_wrote() -> None:
    dead = Dead()
    stored = dead.append(2, b"acme", b"value", dead_headers(dead_headers(ORIGINAL, 1, 7, "TIMEOUT"), 2, 8))
    letter = letter_of(stored)
    assert (letter.origin, letter.reason, letter.attempts) == (f"{TOPIC}/2/8", "VALIDATION_FAILED", 2)
    assert (letter.message, letter.event_id, letter.event_type) == ("no good", "e2", "usage.x")
    assert (letter.size, letter.at) == (5, datetime.fromtimestamp(START_MS / 1000, UTC))


def test_a_letter_of_another_program_may_leave_everything_out() -> None:
    stored = Stored(Place(DEAD, 0, 3), START_MS, None, None, [("sluice.dlq.attempts", b"many")])
    letter = letter_of(stored)
    assert (letter.origin, letter.reason, letter.attempts, letter.size) == (f"{DEAD}/0/3", "UNKNOWN", 1, 0)


def test_places_are_read_as_they_are_written() -> None:
    assert place_of(str(Place(DEAD, 3, 42))) == Place(DEAD, 3, 42)
    assert (source_of(DEAD), source_of(TOPIC)) == (TOPIC, TOPIC)


@pytest.mark.parametrize(
    "text", ["", "usage.metered", "usage.metered/1", "a/b/c", "a/1/2/3", "a b/1/2", "a/-1/2"]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a place"):
        place_of(text)


def test_keys_are_shown_as_text_or_in_hexadecimal() -> None:
    assert [key_text(key) for key in (None, b"", "é|1".encode(), b"\xff\x00")] == ["", "", "é|1", "0xff00"]


def test_null_and_empty_values_and_shifted_bytes_have_digests_of_their_own() -> None:
    pairs = [(None, None), (b"", None), (None, b""), (b"", b""), (b"ab", b"c"), (b"a", b"bc")]
    assert len({digest_of(*pair) for pair in pairs}) == len(pairs)


def test_a_marker_resolves_its_letter_and_the_latest_one_counts() -> None:
    dead = Dead()
    first, second = dead.die(1), dead.die(2)
    dead.mark(first, "discarded")
    letters = dead.letters()
    states = [letters.state(letter) for letter in letters.in_order()]
    assert states == ["discarded", "open"]
    dead.mark(first)
    dead.mark(second)
    letters = dead.letters()
    assert [letters.state(letter) for letter in letters.in_order()] == ["replayed", "replayed"]
    [one, _] = letters.in_order()
    assert [(done.how, done.selection) for done in letters.resolutions(one)] == [
        ("discarded", "5e1ec7"),
        ("replayed", "5e1ec7"),
    ]


def test_a_letter_written_twice_is_one_letter_and_a_marker_of_one_is_a_marker_of_both() -> None:
    dead = Dead()
    first = dead.die(1)
    dead.mark(first)
    dead.die(1)  # a worker that died, or a reset, has written it once more
    letters = dead.letters()
    assert len(letters) == 1
    [letter] = letters.in_order()
    assert letter.place == first.place
    assert letters.state(letter) == "replayed"
    assert letters.at(1, 2) is letter


def test_another_event_at_the_same_origin_is_another_letter() -> None:
    dead = Dead()
    dead.mark(dead.die(1, value=b"old"))
    dead.die(1, value=b"of a topic that was made anew")
    letters = dead.letters()
    assert [letters.state(letter) for letter in letters.in_order()] == ["replayed", "open"]
    assert len(letters.of_origin(f"{TOPIC}/1/1")) == 2


def test_an_event_whose_producer_sent_the_header_of_markers_is_a_letter_all_the_same() -> None:
    dead = Dead()
    victim = dead.die(1)
    forged = [("x-dlq-resolved", b"discarded"), ("x-dlq-letter", str(victim.place).encode())]
    dead.die(2, headers=forged)
    letters = dead.letters()
    assert [letters.state(letter) for letter in letters.in_order()] == ["open", "open"]


def test_markers_of_letters_that_are_gone_and_markers_that_name_none_change_nothing() -> None:
    dead = Dead()
    stored = dead.die(1)
    gone = Stored(Place(DEAD, 1, 99), START_MS, b"acme", b"", ())
    dead.mark(gone)
    dead.append(1, b"acme", None, [("x-dlq-resolved", b"replayed"), ("x-dlq-letter", b"nonsense")])
    letters = dead.letters()
    assert [letters.state(letter) for letter in letters.in_order()] == ["open"]
    assert not [name for name, _ in dead.records[1].headers if name == ORIGIN]
    assert letters.at(1, 1) is None
    assert letters.at(1, 0) == letter_of(stored)


def test_letters_go_by_offset_in_a_partition_and_by_time_between_partitions() -> None:
    dead = Dead()
    for partition, at in [(1, 50), (2, 10), (1, 20), (2, 60), (3, 55)]:
        dead.die(len(dead.records), partition=partition, at_ms=START_MS + at)
    # The clock of partition 1 went back: its own order counts.
    assert places(dead.letters().in_order()) == [(2, 0), (1, 0), (1, 1), (3, 0), (2, 1)]


def test_queries_find_letters_by_reason_key_time_and_state() -> None:
    dead = Dead()
    a = dead.die(1, b"acme", reason="TIMEOUT")
    dead.die(2, b"beta")
    dead.die(3, b"acme")
    dead.mark(a)
    letters = dead.letters()
    third = datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(seconds=2)
    for query, wanted in [
        (Query(), [1, 2]),
        (Query(resolved=True), [0, 1, 2]),
        (Query(key="acme"), [2]),
        (Query(reason="TIMEOUT"), []),
        (Query(reason="TIMEOUT", resolved=True), [0]),
        (Query(since=third), [2]),
        (Query(since=third + timedelta(milliseconds=1)), []),
    ]:
        found = matching(letters, query)
        assert [letter.place.offset for letter in found] == wanted, query


def test_earlier_open_letters_of_a_chosen_key_are_found() -> None:
    dead = Dead()
    done = dead.die(1, b"acme")
    dead.die(2, b"acme")
    dead.die(3, b"beta")
    dead.die(4, b"acme")
    dead.die(5, None)
    dead.die(6, None)
    dead.mark(done)
    letters = dead.letters()
    chosen = [letter for letter in letters.in_order() if letter.place.offset in (3, 5)]
    assert [letter.place.offset for letter in left_behind(letters, chosen)] == [1]
    assert left_behind(letters, letters.in_order()) == []
