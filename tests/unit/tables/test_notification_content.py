"""Templates of notifications: parameters in, text out (contracts 3.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.notification_content import TemplateError, render


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("{a}", "1"),
        ("{a}{b}{a}", "121"),
        ("{{a}}", "{a}"),
        ("{{{a}}}", "{1}"),
        ("x {order.no} y", "x 7 y"),
    ],
)
def test_parameters_stand_in_for_their_names(template: str, text: str) -> None:
    assert render(template, {"a": "1", "b": "2", "order.no": "7", "spare": ""}, 100) == text


@pytest.mark.parametrize("template", ["{", "}", "{a", "a}", "{}", "{ a }", "{a!r}", "{a[0]}", "{{a}"])
def test_a_brace_that_is_no_parameter_is_refused(template: str) -> None:
    with pytest.raises(TemplateError, match="stands alone"):
        render(template, {"a": "1"}, 100)


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(TemplateError, match="'name'"):
        render("Dear {name}", {}, 100)


def test_values_are_not_templates() -> None:
    assert render("{a}", {"a": "{b} {{", "b": "2"}, 100) == "{b} {{"


def test_a_text_cannot_grow_beyond_its_limit() -> None:
    assert render("{a}" * 10, {"a": "x" * 10}, 100) == "x" * 100
    with pytest.raises(TemplateError, match="longer than 99"):
        render("{a}" * 10, {"a": "x" * 10}, 99)
    with pytest.raises(TemplateError, match="longer than 5"):
        render("123456", {}, 5)


@given(st.text(max_size=50))
def test_any_text_can_be_written_with_doubled_braces(text: str) -> None:
    assert render(text.replace("{", "{{").replace("}", "}}"), {}, 1000) == text
