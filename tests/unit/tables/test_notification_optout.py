"""Recipients who want no notifications (contracts 3.4)."""

from __future__ import annotations

from typing import Any

import pytest

from streams.events import NotificationCommandRejected, NotificationOptOut, NotificationOptOutSetRequested
from tables.notification import NOTIFICATION
from tables.notification_optout import address_key, wants_none
from tests.unit.tables.scenario import NOON, TENANT, Scenario


def wish(**more: Any) -> list[Any]:
    scenario = Scenario(NOTIFICATION, address_key(TENANT, "ada@lovelace.example"))
    fields = {"event_id": "w", "timestamp": NOON, "tenant_id": TENANT, "recipient": "ada@lovelace.example"}
    facts = scenario.send(NotificationOptOutSetRequested(**{**fields, **more}))
    assert scenario.records == {}, "what every worker holds is the memory of it"
    return facts


def test_what_a_recipient_wants_is_told_to_every_worker() -> None:
    [told] = wish(channels=("SMS",))
    assert isinstance(told, NotificationOptOut)
    assert (told.recipient, told.channels, told.opted_out) == ("ada@lovelace.example", ("SMS",), True)


def test_it_is_about_all_channels_or_those_it_names_until_it_is_taken_back() -> None:
    [all_of_them], [some], [none] = wish(), wish(channels=("SMS", "PUSH")), wish(opted_out=False)
    assert [wants_none(each, "SMS") for each in (all_of_them, some, none, None)] == [True, True, False, False]
    assert [wants_none(each, "EMAIL") for each in (all_of_them, some)] == [True, False]


def test_an_address_is_the_same_in_any_case_of_its_letters_and_of_one_tenant() -> None:
    assert address_key("t", " Ada@Lovelace.Example ") == address_key("t", "ada@lovelace.example")
    assert address_key("t", "ada") != address_key("T", "ada")


@pytest.mark.parametrize(
    "wrong",
    [{"recipient": " "}, {"recipient": "a\nb"}, {"recipient": "a" * 2049}, {"channels": ("UNKNOWN",)}],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    [refusal] = wish(**wrong)
    assert isinstance(refusal, NotificationCommandRejected)
    assert refusal.reason_code == "VALIDATION_FAILED"
