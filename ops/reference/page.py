"""The reference as one HTML page: no script, nothing loaded from elsewhere, light and dark as the browser is set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any, Final

from ops import exporter_metrics
from ops.reference.examples import example, payload
from ops.reference.model import (
    Channel,
    Message,
    default_text,
    parts,
    retention_text,
    short,
    type_text,
)
from streams.metric_names import LABELS, SECTIONS, MetricRow
from streams.schemas import Contract
from streams.topics import dead_letter_topic

LINKS: Final = {
    "/openapi.json": "views and commands (OpenAPI)",
    "/asyncapi.json": "topics and records (AsyncAPI)",
    "/metrics": "metrics now (Prometheus)",
    "/health/ready": "health",
    "/console": "console",
    "/": "index",
}

STYLE: Final = """
:root { color-scheme: light dark; --text: #1c2128; --soft: #59636e; --line: #d1d9e0; --back: #fff; --code: #f3f5f7;
  --link: #0757b8 }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e9ee; --soft: #9da7b1; --line: #3a424b; --back: #14181d; --code: #20262d; --link: #7db8ff }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem; max-width: 75rem; color: var(--text); background: var(--back);
  font: 1rem/1.5 system-ui, sans-serif }
a { color: var(--link) }
a:focus-visible, summary:focus-visible { outline: 2px solid var(--link); outline-offset: 2px }
h1 { margin: 0 } h2 { margin: 2.5rem 0 .5rem } h3 { margin: 1.75rem 0 .25rem }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; list-style: none }
code, pre { font: .875em/1.45 ui-monospace, monospace; background: var(--code); border-radius: .25rem }
code { padding: .1em .3em; overflow-wrap: anywhere } pre { padding: .75rem; overflow-x: auto }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .9375rem } th { text-align: left; color: var(--soft) }
td:first-child { white-space: nowrap } td:last-child { min-width: 12rem } td code { overflow-wrap: normal }
th, td { padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
details { border-bottom: 1px solid var(--line) } summary { padding: .4rem 0; cursor: pointer }
details p[id] { scroll-margin-top: 3rem }
summary span, .soft { color: var(--soft) }
"""


def page(
    found: Sequence[Channel], known: Iterable[Contract], carriers: dict[str, list[str]], version: str
) -> str:
    """Return the page.

    Args:
        found: the topics.
        known: the contracts.
        carriers: names of the topics that carry each record, by full name.
        version: of the program.
    """
    links = "".join(f'<li><a href="{path}">{escape(told)}</a></li>' for path, told in LINKS.items())
    body = [
        f'<h1>Sluice</h1><p class="soft">Topics, records and metrics of version {escape(version)}.</p>',
        f'<nav aria-label="Documents"><ul><li><a href="#topics">topics</a></li>'
        f'<li><a href="#schemas">schemas</a></li><li><a href="#metrics">metrics</a></li>{links}</ul></nav>',
        '<main><h2 id="topics">Topics</h2>',
        _table(("topic", "for", "key", "kept", "read by"), [_overview(channel) for channel in found]),
        *(part for channel in found if channel.described for part in _topic(channel)),
        '<h2 id="schemas">Schemas</h2>',
        "<p>A field without a default is required. A time is <code>timestamp-micros</code>, in UTC.</p>",
        *(_contract(contract, carriers.get(contract.name, [])) for contract in known),
        '<h2 id="metrics">Metrics</h2><p>No label holds a tenant, a user, a product or a customer.</p>',
        *(_metrics(title, rows) for title, rows in SECTIONS.items()),
        _metrics("The exporter", exporter_metrics.METRICS),
        "<h3>Labels</h3>",
        _table(("label", "values"), [(_code(label), _prose(told)) for label, told in LABELS.items()]),
        "</main>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sluice: topics, records and metrics</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body>{''.join(body)}</body></html>"
    )


def _overview(channel: Channel) -> tuple[str, ...]:
    topic = channel.topic
    name = _code(topic.name)
    if channel.described:
        name = f'<a href="#{escape(topic.name)}">{name}</a>'
    readers = escape(", ".join(channel.readers))
    return name, channel.purpose, escape(topic.key), retention_text(topic), readers


def _topic(channel: Channel) -> Iterator[str]:
    name = escape(channel.topic.name)
    yield f'<h3 id="{name}">{name}</h3><p>Key: {escape(channel.topic.key)}.'
    if channel.purpose == "events" and channel.readers:
        yield f" What cannot be processed goes to {_code(dead_letter_topic(channel.topic.name))}."
    yield "</p>"
    yield _table(
        ("record", "a worker", "may publish, or publishes it in answer to"),
        [_message(message, channel) for message in channel.messages],
    )


def _message(message: Message, channel: Channel) -> tuple[str, ...]:
    does = [word for word, true in (("reads", channel.readers), ("publishes", message.output)) if true]
    return (
        _reference(message.name),
        " and ".join(does),
        ", ".join(_reference(name) for name in message.emits or message.causes),
    )


def _reference(name: str) -> str:
    return f'<a href="#{escape(name)}">{_code(name)}</a>'


def _contract(contract: Contract, carriers: list[str]) -> str:
    name, doc = short(contract.name), str(contract.schema.get("doc", ""))
    facts = [_code(contract.name)]
    facts += [f"type {_code(contract.type)}"] if contract.type else []
    facts += [f"on {', '.join(map(_code, carriers))}"] if carriers else []
    # Here and not on the details: a browser opens them for a link to what is inside.
    inside = [f'<p id="{escape(name)}">{", ".join(facts)}</p>']
    if deprecated := contract.deprecated:
        inside.append(
            f"<p><strong>Deprecated since {escape(deprecated.since)}.</strong> Use "
            f"{_reference(short(deprecated.successor))}.</p>"
        )
    inside.append(_fields(contract.schema))
    inside += [_part(part) for part in parts(contract)]
    if contract.kind == "event":
        shown = json.dumps(payload(example(contract)), indent=2, ensure_ascii=False)
        inside.append(f"<p>As JSON:</p><pre>{escape(shown)}</pre>")
    return (
        f"<details><summary><strong>{escape(name)}</strong> <span>{escape(doc)}</span></summary>"
        f"{''.join(inside)}</details>"
    )


def _part(part: dict[str, Any]) -> str:
    head = f"<p><strong>{escape(short(part['name']))}</strong> {escape(part.get('doc', ''))}"
    if part["type"] == "enum":
        return f"{head} {', '.join(map(_code, part['symbols']))}</p>"
    return f"{head}</p>{_fields(part)}"


def _fields(record: dict[str, Any]) -> str:
    rows = [
        (
            _code(field["name"]),
            escape(type_text(field["type"])),
            _code(default) if (default := default_text(field)) else "",
            escape(field.get("doc", "")),
        )
        for field in record["fields"]
    ]
    return _table(("field", "type", "default", "meaning"), rows)


def _metrics(title: str, rows: Iterable[MetricRow]) -> str:
    cells = [
        (
            _code(row.name),
            ", ".join(map(_code, row.labels)),
            row.kind,
            escape(row.unit),
            _prose(row.help),
            _prose(row.counted),
        )
        for row in rows
    ]
    head = ("metric", "labels", "type", "unit", "what it says", "counted")
    return f"<h3>{escape(title)}</h3>{_table(head, cells)}"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _prose(text: str) -> str:
    """Return a text of the catalogue, in which backticks mark names."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the head is text, the cells are HTML."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'
