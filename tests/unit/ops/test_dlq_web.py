"""Dead letters over HTTP: for the operator alone, exactly those that are named, and every refusal with its cause."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from ops import dlq_process, dlq_show, dlq_web
from ops.dlq_fold import Letters
from ops.dlq_process import ProcessFailed, Refused, carried
from ops.dlq_web_models import EditRequest, Outcome, Outcomes, SelectionRequest
from ops.errors import Invalid, NotThere, OpsError, Outdated
from streams.settings import Settings
from tests.unit.ops.dlq_world import DEAD, START_MS, TOPIC, Dead
from tests.unit.streams.web_world import Answer, World, a_world

OPERATOR, TENANT = "operator-token", "acme-token"
TOKENS: dict[str, Any] = {"web_token": SecretStr(OPERATOR), "web_tenant_tokens": {TENANT: "acme"}}
PICKED = {"partition": 1, "offset": 0, "origin": f"{TOPIC}/1/1", "digest": "d"}
SELECTION = {"action": "dry_run", "topic": TOPIC, "letters": [PICKED]}
EDIT = {
    "action": "replay",
    "letter": f"{DEAD}/1/0",
    "digest": "d",
    "record": "sluice.usage.UsageEvent",
    "event": {"a": 1},
}
DONE = Outcomes(
    selection="5e1ec7",
    outcomes=[Outcome(letter=f"{DEAD}/1/0", origin=f"{TOPIC}/1/1", key="k", outcome="sent")],
)


class Desk:
    """A worker's web port, with topics in memory and a process that answers what a test says."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.topics = {TOPIC: Dead(), "usage.commands": Dead()}
        self.requests: list[Any] = []
        self.answer: Outcomes | Exception = DONE

    def source_topics(self, settings: Settings, topic: str | None = None) -> list[str]:
        if topic is not None and topic not in self.topics:
            raise NotThere(f"There is no topic {topic}.", "Ask for another one.")
        return sorted(self.topics) if topic is None else [topic]

    def read_letters(
        self, settings: Settings, topics: Sequence[str], known: Any = None
    ) -> dict[str, Letters]:
        found = {}
        for topic in topics:
            found[topic] = Letters(topic)
            for stored in self.topics[topic].records:
                found[topic].take(stored)
        return found

    def fetch(self, settings: Settings, places: Any) -> Any:
        stored = {record.place: record for record in self.topics[TOPIC].records}
        return {place: stored[place] for place in places}

    async def ask(self, settings: Settings, request: Any, children: Any) -> Outcomes:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def get(self, path: str, token: str | None = OPERATOR) -> Answer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.world.get(path, headers=headers)

    async def post(self, path: str, body: Any, token: str = OPERATOR, **headers: str) -> Answer:
        sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"} | headers
        data = body if isinstance(body, str) else json.dumps(body)
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.world.workers[0].url + path, data=data, headers=sent) as response,
        ):
            return Answer(response.status, dict(response.headers), await response.read())


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    async with a_world(tmp_path, monkeypatch, builds=[dlq_web.build], **TOKENS) as world:
        desk = Desk(world)
        for module in (dlq_web, dlq_show):
            monkeypatch.setattr(module, "source_topics", desk.source_topics)
            monkeypatch.setattr(module, "read_letters", desk.read_letters)
        monkeypatch.setattr(dlq_show, "fetch", desk.fetch)
        monkeypatch.setattr(dlq_web, "ask", desk.ask)
        yield desk


async def test_only_the_operator_sees_dead_letters_and_acts_on_them(desk: Desk) -> None:
    for path in ("/dlq", "/dlq/topics", f"/dlq/{DEAD}/1/0"):
        assert (await desk.get(path, None)).status == 401
        assert (await desk.get(path, TENANT)).status == 403
    for path, body in (("/dlq/selections", SELECTION), ("/dlq/edits", EDIT)):
        assert (await desk.post(path, body, "wrong")).status == 401
        assert (await desk.post(path, body, TENANT)).status == 403
        assert (await desk.post(path, "not even JSON", TENANT)).status == 403
    assert desk.requests == []


async def test_letters_are_listed_with_what_names_them_in_pages_oldest_first(desk: Desk) -> None:
    dead = desk.topics[TOPIC]
    first = dead.die(1, b"acme", reason="TIMEOUT", at_ms=START_MS)
    dead.die(2, b"beta", at_ms=START_MS + 20)
    desk.topics["usage.commands"].die(3, b"acme", at_ms=START_MS + 10)
    answer = (await desk.get("/dlq")).json
    assert [(item["topic"], item["key"]) for item in answer["items"]] == [
        (TOPIC, "acme"),
        ("usage.commands", "acme"),
        (TOPIC, "beta"),
    ]
    item = answer["items"][0]
    assert (item["letter"], item["origin"], item["reason"]) == (f"{DEAD}/1/0", f"{TOPIC}/1/1", "TIMEOUT")
    assert (item["partition"], item["offset"], item["state"], item["bytes"]) == (1, 0, "open", 1)
    assert len(item["digest"]) == 32
    page = (await desk.get("/dlq?page=2&per_page=2")).json
    assert (len(page["items"]), page["total"], page["has_next"]) == (1, 3, False)
    dead.mark(first)
    for query, count in (
        (f"topic={TOPIC}", 1),
        ("state=replayed", 1),
        ("state=all", 3),
        ("key=acme&state=all", 2),
        ("reason=TIMEOUT", 0),
        ("since=2026-09-21T14:13:20.015Z", 1),
    ):
        assert (await desk.get(f"/dlq?{query}")).json["total"] == count, query


async def test_topics_are_listed_with_how_many_letters_they_have_in_each_state_and_of_what(
    desk: Desk,
) -> None:
    dead = desk.topics[TOPIC]
    dead.mark(dead.die(1, reason="TIMEOUT", at_ms=START_MS))
    dead.mark(dead.die(2, reason="TIMEOUT"), "discarded")
    for offset, reason in enumerate(("NOT_FRAMED", "LATE_EVENT", "LATE_EVENT"), start=3):
        dead.die(offset, f"k{offset}".encode(), reason=reason, at_ms=START_MS + offset * 1000)
    answer = (await desk.get("/dlq/topics")).json
    assert (answer["total"], answer["has_next"]) == (1, False), "topics without letters are left out"
    [row] = answer["items"]
    counted = (row["topic"], row["open"], row["replayed"], row["discarded"])
    assert counted == (TOPIC, 3, 1, 1)
    assert row["reasons"] == {"LATE_EVENT": 2, "NOT_FRAMED": 1}
    assert row["oldest"].startswith("2026-09-21T14:13:23")
    [row] = (await desk.get("/dlq/topics?reason=LATE_EVENT&key=k4")).json["items"]
    assert (row["open"], row["replayed"], row["reasons"]) == (1, 0, {"LATE_EVENT": 1})
    assert (await desk.get("/dlq/topics?topic=usage.metered")).status == 400


async def test_wrong_questions_and_absent_topics_are_refused(desk: Desk) -> None:
    for query in ("state=closed", "since=yesterday", "colour=red", "page=0"):
        assert (await desk.get(f"/dlq?{query}")).status == 400
    gone = await desk.get("/dlq?topic=nothing")
    assert (gone.status, gone.code) == (404, "NOT_FOUND")
    assert (await desk.get(f"/dlq/{DEAD}/one/2")).status == 400
    assert (await desk.get(f"/dlq/{DEAD}/1/7")).status == 404


async def test_one_letter_shows_everything_by_its_place_or_by_that_of_its_event(desk: Desk) -> None:
    dead = desk.topics[TOPIC]
    stored = dead.die(5, b"\xff", b"poison", headers=[("ce_id", b"e1"), ("raw", b"\xfe"), ("none", None)])
    dead.mark(stored, "discarded")
    found = (await desk.get(f"/dlq/{DEAD}/1/0")).json
    assert (found["record"], found["hex"], found["key"]) == (None, b"poison".hex(), "0xff")
    assert "first byte" in found["undecodable"]
    assert found["headers"] == [
        {"name": "ce_id", "value": "e1"},
        {"name": "raw", "value": "0xfe"},
        {"name": "none", "value": None},
    ]
    assert [line.split()[0] for line in found["history"]] == ["died", "discarded"]
    assert (await desk.get(f"/dlq/{TOPIC}/1/5")).json == found


async def test_exactly_the_letters_that_are_named_are_acted_on(desk: Desk) -> None:
    answer = await desk.post("/dlq/selections", SELECTION | {"action": "replay", "again": True})
    assert (answer.status, answer.json["outcomes"][0]["outcome"]) == (200, "sent")
    answer = await desk.post("/dlq/edits", EDIT)
    assert (answer.status, answer.json["selection"]) == (200, "5e1ec7")
    selected, edited = desk.requests
    assert isinstance(selected, SelectionRequest)
    assert [each.model_dump() for each in selected.letters] == [PICKED]
    assert (selected.action, selected.again, selected.topic) == ("replay", True, TOPIC)
    assert isinstance(edited, EditRequest)
    assert (edited.event, edited.again) == ({"a": 1}, False)


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("/dlq/selections", {}, {"action", "topic", "letters"}),
        ("/dlq/selections", SELECTION | {"action": "delete"}, {"action"}),
        ("/dlq/selections", SELECTION | {"letters": []}, {"letters"}),
        ("/dlq/selections", SELECTION | {"letters": [PICKED] * 501}, {"letters"}),
        ("/dlq/selections", SELECTION | {"letters": [PICKED | {"offset": -1}]}, {"letters.0.offset"}),
        ("/dlq/selections", SELECTION | {"reason": "TIMEOUT"}, {"reason"}),
        ("/dlq/edits", EDIT | {"action": "discard", "event": []}, {"action", "event"}),
    ],
)
async def test_what_is_wrong_with_a_request_is_told_all_at_once(
    path: str, body: Any, fields: set[str], desk: Desk
) -> None:
    answer = await desk.post(path, body)
    assert (answer.status, answer.code) == (400, "VALIDATION_FAILED")
    assert {detail["field"] for detail in answer.json["error"]["details"]} == fields
    assert desk.requests == []


async def test_a_request_that_another_site_could_send_is_refused(desk: Desk) -> None:
    answer = await desk.post("/dlq/selections", SELECTION, **{"Content-Type": "text/plain"})
    assert (answer.status, desk.requests) == (415, [])
    assert (await desk.post("/dlq/selections?dry_run=1", SELECTION)).status == 400


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (Refused("Invalid", "No.", "Do.", [("quantity", "not a decimal")]), 400, "VALIDATION_FAILED"),
        (Refused("NotThere", "No.", "Do.", []), 404, "NOT_FOUND"),
        (Refused("Outdated", "No.", "Do.", []), 409, "CONFLICT"),
        (Refused("OpsError", "No.", "Do.", []), 503, "TEMPORARY_FAILURE"),
        (TimeoutError(), 503, "TEMPORARY_FAILURE"),
        (ProcessFailed("exit status 1"), 500, "INTERNAL_ERROR"),
    ],
)
async def test_every_refusal_says_why(failure: Exception, status: int, code: str, desk: Desk) -> None:
    desk.answer = failure
    answer = await desk.post("/dlq/edits", EDIT)
    assert (answer.status, answer.code) == (status, code)
    if isinstance(failure, Refused) and failure.details:
        assert answer.json["error"]["details"] == [{"field": "quantity", "reason": "not a decimal"}]
    elif isinstance(failure, Refused):
        assert answer.json["error"]["message"] == "No. Do."


async def test_the_description_names_all_of_it(desk: Desk) -> None:
    paths = (await desk.get("/openapi.json")).json["paths"]
    assert set(paths["/dlq"]) == set(paths["/dlq/topics"]) == {"get"}
    selections = paths["/dlq/selections"]["post"]
    assert set(selections["responses"]) == {"200", "400", "401", "403", "404", "409", "415", "500", "503"}
    assert selections["summary"] == "Try out, replay or discard exactly the dead letters that are named"
    assert "/dlq/edits" in (await desk.get("/")).json["commands"]


def test_settings_come_to_the_process_as_they_are_secrets_included(tmp_path: Path) -> None:
    settings = Settings(
        sasl_mechanism="PLAIN",
        sasl_username="u",
        sasl_password=SecretStr("geheim"),
        dedupe_max_age=timedelta(minutes=7),
        data_dir=tmp_path,
        web_tenant_tokens={TENANT: "acme"},
    )
    assert Settings(**json.loads(json.dumps(carried(settings)))) == settings


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (Outdated("Another one.", "Look."), {"kind": "Outdated", "cause": "Another one.", "details": []}),
        (Invalid("Wrong:", "Mend.", [("a", "b")]), {"cause": "Wrong:\na: b", "details": [["a", "b"]]}),
        (OpsError("No broker.", "Start one."), {"kind": "OpsError", "remedy": "Start one."}),
    ],
)
def test_the_process_hands_over_refusals(
    error: OpsError, wanted: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_process(monkeypatch, error) == 0
    refused = json.loads(capsys.readouterr().out)["refused"]
    assert wanted.items() <= refused.items()
    assert str(Refused(**refused)) == str(error)


def test_the_process_tells_nothing_of_a_letter_when_it_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_process(monkeypatch, KeyError("secret of a user")) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "KeyError" in err
    assert "secret" not in err


def run_process(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> int:
    def perform(settings: Settings, request: Any) -> Outcomes:
        raise failure

    given = {"kind": "SelectionRequest", "request": SELECTION, "settings": {}}
    monkeypatch.setattr(dlq_process, "perform", perform)
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(given)))
    return dlq_process.main()


async def test_a_process_that_fails_or_is_ended_gives_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    children: set[asyncio.subprocess.Process] = set()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ProcessFailed, match="exit status 1"):
        await dlq_process.ask(Settings(), SelectionRequest.model_validate(SELECTION), children)
    assert children == set()
