"""Logs hold neither the values of users' events nor the same line of a library's over and over."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from streams.logs import EVERY_S, Seldom, configure
from streams.settings import Settings

LIBRARY, OURS = "aiokafka.conn", "streams.app"


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, which is afterwards as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield root
    root.handlers = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_shows_where_it_happened_and_no_variable(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    configure(Settings.read(log_json=as_json))
    value = "".join(("card", "-4711"))  # so that no line of this source holds it
    try:
        raise RuntimeError(f"{len(value)} characters")
    except RuntimeError:
        logging.getLogger(OURS).exception("a rule failed")
    said = capsys.readouterr().err
    assert "9 characters" in said
    assert "test_logs.py" in said
    assert value not in said


def line(name: str, text: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "", 0, text, values, None)


def test_a_line_that_a_library_repeats_is_written_seldom_and_says_for_how_many_it_stands() -> None:
    now = 0.0
    seldom = Seldom(lambda: now)
    assert [seldom.filter(line(LIBRARY, "no node %s", node)) for node in range(4)] == [
        True,
        False,
        False,
        False,
    ]
    assert seldom.filter(line(LIBRARY, "no metadata from %s", 1)), "another line"
    now = EVERY_S
    again = line(LIBRARY, "no node %s", "5 %s")
    assert seldom.filter(again)
    assert again.getMessage() == "no node 5 %s (and 3 such lines before)"


def test_our_own_lines_are_all_written() -> None:
    seldom = Seldom(lambda: 0.0)
    assert all(seldom.filter(line(OURS, "worker stops")) for _ in range(3))


def test_lines_of_ever_new_texts_take_no_memory_for_ever() -> None:
    seldom = Seldom(lambda: 0.0)
    assert all(seldom.filter(line(LIBRARY, f"record {number}")) for number in range(5_000))
    assert len(seldom._said) <= 1_000
