"""What the views of usage answer (contracts 3.5)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tables.readable import QueryError
from tables.usage_views import usage, usage_cost, usage_quotas, usage_user
from tests.unit.tables.scenario import NOON, TENANT, Scenario, cost, time


@pytest.fixture
def tenant() -> Scenario:
    scenario = Scenario()
    scenario.used(150, time("2026-11-20T11:10"), cost=cost("0.0003", "0.000002"))
    scenario.used("0.5", time("2026-11-20T11:20"), model="gpt-4-0613", user_id="user-002")
    scenario.used(30, time("2026-11-20T12:00"), resource_type="tokens.output", cost=cost("6", "0.2", "EUR"))
    return scenario


def items(scenario: Scenario, **query: str) -> list[dict[str, Any]]:
    answer = usage(scenario, TENANT, query)
    json.dumps(answer)
    found: list[dict[str, Any]] = answer["items"]
    return found


def test_without_a_window_there_is_one_item_for_each_meter(tenant: Scenario) -> None:
    assert items(tenant) == [
        {"meter": "tokens.input", "unit": "tokens", "count": 2, "sum": "150.5", "max": "150"},
        {"meter": "tokens.output", "unit": "tokens", "count": 1, "sum": "30", "max": "30"},
    ]


def test_the_answer_says_how_far_it_reaches(tenant: Scenario) -> None:
    tenant.used(1, time("2026-11-20T08:00"))
    answer = usage(tenant, TENANT, {})
    assert answer["watermark"] == "2026-11-20T12:00:00Z"
    assert answer["late_adjustments"] == 1
    assert (answer["tenant"], answer["time_zone"]) == (TENANT, "UTC")


def test_a_meter_can_be_asked_for(tenant: Scenario) -> None:
    assert [item["sum"] for item in items(tenant, meter="tokens.output")] == ["30"]
    assert items(tenant, meter="nothing") == []


def test_from_is_included_and_to_is_not(tenant: Scenario) -> None:
    assert [item["meter"] for item in items(tenant, **{"from": "2026-11-20T12:00:00Z"})] == ["tokens.output"]
    assert [item["meter"] for item in items(tenant, to="2026-11-20T12:00:00Z")] == ["tokens.input"]
    assert items(tenant, **{"from": "2026-11-20T12:00:00.000001Z"}) == []


def test_an_offset_whose_plus_became_a_space_is_understood(tenant: Scenario) -> None:
    query = {"from": "2026-11-20T13:00:00 01:00"}
    assert [item["meter"] for item in items(tenant, **query)] == ["tokens.output"]


def test_a_date_begins_at_the_tenants_midnight() -> None:
    tenant = Scenario(at=time("2026-11-20T05:30"))
    tenant.zone("America/New_York")
    tenant.used(1, time("2026-11-20T04:59"))
    tenant.used(2, time("2026-11-20T05:00"))
    assert [item["sum"] for item in items(tenant, **{"from": "2026-11-20"})] == ["2"]


def test_hour_windows_have_start_and_end(tenant: Scenario) -> None:
    found = items(tenant, window="hour")
    assert [(item["start"], item["end"], item["sum"]) for item in found] == [
        ("2026-11-20T11:00:00Z", "2026-11-20T12:00:00Z", "150.5"),
        ("2026-11-20T12:00:00Z", "2026-11-20T13:00:00Z", "30"),
    ]


def test_days_and_months_are_those_of_the_tenants_zone() -> None:
    tenant = Scenario(at=time("2026-12-01T03:00"))
    tenant.zone("America/New_York")
    tenant.used(1, time("2026-12-01T02:00"))
    tenant.used(2, time("2026-11-30T02:00"))
    days = [(item["start"], item["sum"]) for item in items(tenant, window="day")]
    assert days == [("2026-11-29T05:00:00Z", "2"), ("2026-11-30T05:00:00Z", "1")]
    [month] = items(tenant, window="month")
    assert (month["start"], month["end"], month["sum"]) == (
        "2026-11-01T04:00:00Z",
        "2026-12-01T05:00:00Z",
        "3",
    )


@pytest.mark.parametrize(
    ("group_by", "groups"),
    [
        ("user", ["user-001", "user-002"]),
        ("model", ["gpt-4", "gpt-4-0613"]),
        ("service", ["llm-gateway"]),
    ],
)
def test_groups_are_items_of_their_own(tenant: Scenario, group_by: str, groups: list[str]) -> None:
    found = items(tenant, meter="tokens.input", group_by=group_by)
    assert [item[group_by] for item in found] == groups


def test_usage_of_another_unit_is_never_added() -> None:
    tenant = Scenario()
    tenant.used(1, unit="tokns")
    tenant.meter("tokens.input", "tokens")
    tenant.used(5)
    assert [(item["unit"], item["sum"]) for item in items(tenant)] == [("tokens", "5"), ("tokns", "1")]


def test_numbers_have_no_exponent_and_no_trailing_zeros() -> None:
    tenant = Scenario()
    tenant.used("1E+6", resource_type="a")
    tenant.used("0.000001", resource_type="b")
    tenant.used("0.000000", resource_type="c")
    assert [item["sum"] for item in items(tenant)] == ["1000000", "0.000001", "0"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("window", "week"),
        ("group_by", "colour"),
        ("from", "yesterday"),
        ("to", "2026-13-01"),
        ("from", "0001-01-01T00:00:00+23:00"),
        ("to", "9999-12-31"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named_with_the_reason(
    tenant: Scenario, field: str, value: str
) -> None:
    with pytest.raises(QueryError) as caught:
        usage(tenant, TENANT, {field: value})
    assert caught.value.field == field
    assert "use " in caught.value.reason


def test_an_end_before_the_beginning_is_an_error(tenant: Scenario) -> None:
    with pytest.raises(QueryError) as caught:
        usage(tenant, TENANT, {"from": "2026-11-20", "to": "2026-11-20"})
    assert caught.value.field == "to"


def test_a_user_sees_their_own_usage_and_cost(tenant: Scenario) -> None:
    answer = usage_user(tenant, TENANT, "user-002", {})
    assert answer["user"] == "user-002"
    assert [item["sum"] for item in answer["items"]] == ["0.5"]
    assert answer["cost"] == []
    assert usage_user(tenant, TENANT, "nobody", {})["items"] == []


def test_costs_are_one_item_for_each_currency(tenant: Scenario) -> None:
    answer = usage_cost(tenant, TENANT, {})
    json.dumps(answer)
    assert answer["items"] == [
        {"currency": "EUR", "amount": "6", "meters": [{"meter": "tokens.output", "amount": "6"}]},
        {"currency": "USD", "amount": "0.0003", "meters": [{"meter": "tokens.input", "amount": "0.0003"}]},
    ]
    assert answer["unpriced"] == [{"meter": "tokens.input", "unit": "tokens", "quantity": "0.5"}]
    assert [item["currency"] for item in usage_cost(tenant, TENANT, {"currency": "EUR"})["items"]] == ["EUR"]


def test_a_quota_shows_its_value_percent_and_what_fired(tenant: Scenario) -> None:
    tenant.quota(180)
    tenant.used(1)
    [item] = usage_quotas(tenant, TENANT, NOON)["items"]
    assert (item["limit"], item["value"], item["percent"]) == ("180", "151.5", "84.17")
    assert item["fired"] == [{"threshold": "80%", "value": "150.5"}]
    assert item["thresholds"] == ["80%", "100%"]
    assert (item["period_start"], item["period_end"]) == ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")


def test_a_quota_of_a_new_period_starts_at_zero(tenant: Scenario) -> None:
    tenant.quota(180)
    [item] = usage_quotas(tenant, TENANT, NOON + timedelta(days=30))["items"]
    assert (item["value"], item["percent"], item["fired"]) == ("0", "0", [])


def test_quotas_without_limit_or_with_none_left_have_no_percent(tenant: Scenario) -> None:
    tenant.quota(0, quota_id="blocked")
    tenant.quota(None, quota_id="open")
    found = usage_quotas(tenant, TENANT, NOON)["items"]
    assert [(item["quota_id"], item["limit"], item["percent"]) for item in found] == [
        ("blocked", "0", None),
        ("open", None, None),
    ]


def test_a_quota_for_each_user_shows_those_who_used_something(tenant: Scenario) -> None:
    tenant.quota(100, scope="USER")
    found = usage_quotas(tenant, TENANT, NOON)["items"]
    json.dumps(found)
    assert [(item["subject"], item["value"]) for item in found] == [("user-001", "150"), ("user-002", "0.5")]


def test_a_tenant_without_usage_has_empty_answers() -> None:
    nobody = Scenario()
    assert usage(nobody, TENANT, {})["items"] == []
    assert usage(nobody, TENANT, {})["watermark"] is None
    assert usage_cost(nobody, TENANT, {})["items"] == []
    assert usage_quotas(nobody, TENANT, NOON)["items"] == []
