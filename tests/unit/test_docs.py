"""What the documents name is there, and what they tell people to type does what they say."""

from __future__ import annotations

import re
import shlex
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import typer.main
from pydantic import TypeAdapter
from yarl import URL

from agents import clients
from agents.commands import COMMANDS
from agents.views import VIEWS
from ops.cli import app as cli
from streams import events
from streams.settings import PREFIX, Settings
from streams.topics import all_topics
from tests.unit.rules_world import Rules
from tests.unit.streams.web_world import PARTITIONS, World, a_world

ROOT = Path(__file__).resolve().parents[2]
DOCS = {path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
TEXTS = pytest.mark.parametrize("name", sorted(DOCS))
CODE = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TYPED = ("sh", "")  # languages of the blocks that a person copies into a shell


def spans(name: str) -> list[str]:
    """Return what a document has in backticks."""
    return CODE.findall(FENCE.sub("", DOCS[name]))


def commands(name: str, program: str) -> Iterator[str]:
    """Yield what a document tells to type of a program."""
    for language, block in FENCE.findall(DOCS[name]):
        if language in TYPED:
            yield from (line for line in _lines(block) if line.startswith(program))
    yield from (span for span in spans(name) if span.startswith(program))


def _lines(block: str) -> Iterator[str]:
    """Yield the commands of a block, each in one text whatever lines it takes."""
    text = ""
    for line in block.splitlines():
        text = f"{text}\n{line}" if text else line.removeprefix("$ ").removeprefix(".venv/bin/")
        if text.count("'") % 2 or text.endswith("\\"):
            continue
        yield text.replace("\\\n", " ")
        text = ""


# --- names --------------------------------------------------------------------------------------------------------


@TEXTS
def test_links_and_paths_lead_somewhere(name: str) -> None:
    folder = (ROOT / name if name == "README.md" else ROOT / "docs" / name).parent
    links = re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", DOCS[name])
    missing = [link for link in links if "://" not in link and not (folder / link).exists()]
    file = re.compile(r"[\w.-]+(/[\w.-]+)*(/|\.(py|md|avsc|csv|toml|lock))").fullmatch
    tops = {path.name for path in ROOT.iterdir() if path.is_dir()}
    for span in spans(name):
        if file(span) and span.split("/")[0] in tops:
            missing += [] if (ROOT / span).exists() else [span]
    assert missing == []


@TEXTS
def test_anchors_are_headings(name: str) -> None:
    for target, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", DOCS[name]):
        text = DOCS[Path(target).name] if target else DOCS[name]
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w\s-]", "", each.lower()).replace(" ", "-") for each in headings}


@TEXTS
def test_records_topics_and_reason_codes_are_those_of_the_code(name: str) -> None:
    topics = {topic.name for topic in all_topics()} | {f"{topic.name}.dlq" for topic in all_topics()}
    sources = "".join(
        path.read_text() for part in ("tables", "streams") for path in (ROOT / part).glob("*.py")
    )
    record = re.compile(r"(Stock|Catalog|Customer|Loyalty|Notification|Usage)(?!Client)[A-Z]\w+").fullmatch
    topic = re.compile(
        r"[a-z]+\.(commands|events|state|metered|deliveries|push|failed|replies)(\.dlq)?"
    ).fullmatch
    code = re.compile(r"[A-Z]+(_[A-Z]+)+").fullmatch
    unknown = [span for span in spans(name) if record(span) and span not in vars(events)]
    unknown += [span for span in spans(name) if topic(span) and span not in topics]
    unknown += [
        span for span in spans(name) if code(span) and PREFIX not in span and f'"{span}"' not in sources
    ]
    assert unknown == []


@TEXTS
def test_settings_that_are_named_exist(name: str) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields} | set(_stack_variables())
    named = re.findall(r"SLUICE_[A-Z_]+\*?", DOCS[name])
    wrong = [each for each in named if not each.endswith("*") and each not in known | {PREFIX}]
    wrong += [
        each for each in named if each.endswith("*") and not any(k.startswith(each[:-1]) for k in known)
    ]
    assert wrong == []


def _stack_variables() -> Iterator[str]:
    group: Any = typer.main.get_command(cli)
    for command in group.commands.values():
        yield from (str(option.envvar) for option in command.params if option.envvar)


def test_every_setting_is_in_the_table_with_its_default() -> None:
    rows = re.findall(r"^\| `SLUICE_(\w+)` \| (.*?) \|", DOCS["settings.md"], re.MULTILINE)
    fields = Settings.model_fields
    assert sorted(name.lower() for name, _ in rows) == sorted(fields), (
        "docs/settings.md: one row for each setting"
    )
    for name, shown in rows:
        known, default = fields[name.lower()], shown.strip("`")
        if shown:
            adapter: TypeAdapter[Any] = TypeAdapter(cast(Any, known.annotation))
            assert adapter.validate_python(default) == known.default, name
        else:
            assert known.default in (None, (), {}), f"{name} has a default: write it into docs/settings.md"


@TEXTS
def test_what_is_typed_exists_with_its_options(name: str) -> None:
    for typed in commands(name, "sluice "):
        words = [word.strip("[],") for word in typed.split("#")[0].split()[1:]]
        command: Any = typer.main.get_command(cli)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        assert not getattr(command, "commands", {}) or not words or words == ["--help"], (
            f"{typed}: no such command"
        )
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word for word in words if word.startswith("--")} <= options, typed
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {typed.split()[1] for typed in commands(name, "make ")} <= targets


# --- over HTTP ----------------------------------------------------------------------------------------------------


@dataclass
class Request:
    """A curl command."""

    path: str
    method: str = "GET"
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


def requests(name: str) -> Iterator[Request]:
    """Yield the curl commands of a document."""
    now = datetime.now(UTC)
    given = {"$W": "http://127.0.0.1:6066", "$J": "Content-Type: application/json"}
    given |= {"'$LATER'": (now + timedelta(hours=1)).isoformat(), "'$NOW'": now.isoformat()}
    for typed in commands(name, "curl "):
        for variable, value in given.items():
            typed = typed.replace(variable, value)  # noqa: PLW2901 - as the shell would see it
        words = iter(shlex.split(typed)[1:])
        request = Request("")
        for word in words:
            match word:
                case "-H":
                    header, _, value = next(words).partition(": ")
                    request.headers[header] = value
                case "-d":
                    request.body, request.method = next(words), "POST"
                case "-i" | "-s" | "-si":
                    pass
                case _:
                    url = word.removeprefix("http://127.0.0.1:6066")
                    assert url != word, f"not the worker of the documents: {typed}"
                    request.path = url
        yield request


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with a_world(tmp_path, monkeypatch) as world:
        await world.assign(range(PARTITIONS))
        app = world.workers[0].app
        hold = app.replica._holdings.put
        rules = Rules(world.store, lambda topic, key, fact: hold(topic.name, key, fact))
        vars(app)["client"] = cast(Any, rules)
        yield world


async def ask(world: World, request: Request) -> tuple[int, str]:
    url = URL(world.workers[0].url + request.path, encoded=True)
    body = None if request.body is None else request.body.encode()
    sent = world._session.request(request.method, url, data=body, headers=request.headers)
    async with sent as response:
        return response.status, await response.text()


async def test_every_command_in_the_documents_is_accepted_in_their_order(world: World) -> None:
    asked = [request for name in ("http.md", "domains.md", "producers.md") for request in requests(name)]
    for request in asked:
        status, text = await ask(world, request)
        assert status < 400, f"{request}: {text}"
        assert status != 207 or '"failed":0' in text, f"{request}: {text}"
    given = {request.path.split("?")[0] for request in asked if request.method == "POST"}
    paths = [re.sub(r"{\w+}", "[^/]+", row.path) for row in COMMANDS]
    assert [path for path in paths if not any(re.fullmatch(path, each) for each in given)] == [], "no example"


async def test_a_command_is_known_by_its_key_and_a_stale_version_is_told(world: World) -> None:
    first, again, _, changed = list(requests("http.md"))
    assert (await ask(world, first))[0] == 202
    status, text = await ask(world, again)
    assert (status, '"duplicate":true' in text) == (200, True)
    assert (await ask(world, changed))[0] == 200
    assert (await ask(world, changed))[0] == 412


async def test_what_the_readme_asks_for_are_paths_that_exist(world: World) -> None:
    for request in requests("README.md"):
        status, text = await ask(world, request)
        assert status < 400 or (status == 404 and "no such path" not in text), f"{request}: {text}"


@TEXTS
def test_views_that_are_named_exist(name: str) -> None:
    about_the_worker = {"/", "/openapi.json", "/health", "/health/live", "/health/ready", "/metrics"}
    paths = about_the_worker | {row.path for row in (*VIEWS, *COMMANDS)}
    roots = {path.split("/")[1] for path in paths}
    view = re.compile(r"(GET |POST )?(/[\w{}/.-]+)").fullmatch
    for span in spans(name):
        found = view(span)
        if found is not None and found[2].split("/")[1] in roots:
            assert found[2] in paths, span


def test_every_operation_of_the_typed_clients_is_named() -> None:
    own = {
        name for kind in clients.__all__ for name in vars(getattr(clients, kind)) if not name.startswith("_")
    }
    assert own | set(clients.__all__) <= set(spans("client.md"))
