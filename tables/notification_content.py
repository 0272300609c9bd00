"""What may be sent: templates, and what is wrong with a request (contracts 3.4). No message holds a value of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from streams.events import NotificationContent

FIELDS = (
    "channel",
    "recipient",
    "template",
    "subject",
    "params",
    "locale",
    "send_at",
    "expires_at",
    "priority",
    "max_attempts",
)
"""What a request, an item of a batch and the state say of a notification under the same names."""

MAX_ID = 2_048
MAX_RECIPIENT = 2_048
MAX_SUBJECT = 998
"""Characters of a line of an e-mail (RFC 5322 2.1.1)."""
MAX_BODY = 100_000
MAX_ATTEMPTS = 10
MAX_AHEAD = timedelta(days=366)

PART = re.compile(r"\{\{|\}\}|\{([A-Za-z0-9_.-]+)\}|[{}]")
CONTROL = re.compile(r"[\x00-\x1f\x7f]").search
RECIPIENTS = {
    "EMAIL": (
        re.compile(r"[^@\s<>,;:\"]+@[^@\s<>,;:\"]+").fullmatch,
        "an e-mail address, such as a@b.example",
    ),
    "SMS": (re.compile(r"\+?[0-9]{3,15}").fullmatch, "a telephone number of 3 to 15 digits"),
    "WEBHOOK": (re.compile(r"https?://[^\s/]\S*").fullmatch, "a URL that begins with https:// or http://"),
}


class TemplateError(ValueError):
    """A template cannot be filled in; the text names cause and remedy, and no value."""


def content_of(request: Any) -> dict[str, Any]:
    """Return the fields of a request, an item or a state record that say what is to be sent."""
    return {name: getattr(request, name) for name in FIELDS}


def render(template: str, params: Mapping[str, str], most: int) -> str:
    """Return a template with its parameters filled in.

    Args:
        template: ``{name}`` stands for a parameter, ``{{`` and ``}}`` for braces.
        params: values by name; those that the template does not name are not used.
        most: characters that the text may have.

    Raises:
        TemplateError: a parameter is missing, a brace stands alone, or the text becomes too long.
    """
    parts: list[str] = []
    size = end = 0
    for found in PART.finditer(template):
        value = _value(found, params)
        parts += (template[end : found.start()], value)
        size += found.start() - end + len(value)
        end = found.end()
        if size > most:
            break
    parts.append(template[end:])
    if size + len(parts[-1]) > most:
        raise TemplateError(
            f"the text is longer than {most} characters; shorten the template or its parameters"
        )
    return "".join(parts)


def _value(found: re.Match[str], params: Mapping[str, str]) -> str:
    token, name = found.group(0), found.group(1)
    if token in ("{{", "}}"):
        return token[0]
    if name is None:
        raise TemplateError(f"a {token} stands alone; write {token * 2} where a brace is meant")
    if name not in params:
        raise TemplateError(f"params has no {name[:64]!r}, which the template names; add it")
    return params[name]


def body_of(content: NotificationContent) -> str:
    """Return the text of a notification that was accepted."""
    return render(content.template, content.params, MAX_BODY)


def subject_of(content: NotificationContent) -> str:
    """Return the subject line of a notification that was accepted."""
    return render(content.subject, content.params, MAX_SUBJECT)


def problem(request: Any) -> str:
    """Return why a request or an item of a batch cannot be sent: cause and remedy. Empty where it can.

    What depends on the time, such as having expired, is not looked at.
    """
    return _bad_number(request) or _bad_recipient(request) or _bad_time(request) or _bad_text(request)


def bad_id(what: str, value: str) -> str:
    """Return what is wrong with an id, or an empty string."""
    if not value or len(value) > MAX_ID or CONTROL(value):
        return f"{what} needs 1 to {MAX_ID} characters and no control characters"
    return ""


def _bad_number(request: Any) -> str:
    if request.channel == "UNKNOWN":
        return "channel is not known; use EMAIL, SMS, PUSH, WEBHOOK, IN_APP or LOG"
    if not 1 <= request.max_attempts <= MAX_ATTEMPTS:
        return f"max_attempts is a number from 1 to {MAX_ATTEMPTS}"
    return ""


def _bad_recipient(request: Any) -> str:
    recipient = request.recipient
    if len(recipient) > MAX_RECIPIENT or CONTROL(recipient):
        return f"recipient has at most {MAX_RECIPIENT} characters and no control characters"
    if not recipient and request.channel != "LOG":
        return "recipient is empty; name the address on the channel"
    matches, wanted = RECIPIENTS.get(request.channel, (None, ""))
    return f"recipient is not {wanted}" if matches is not None and not matches(recipient) else ""


def _bad_time(request: Any) -> str:
    if None not in (request.send_at, request.expires_at) and request.send_at >= request.expires_at:
        return "expires_at is not after send_at, so it could never be sent; correct one of them"
    return ""


def _bad_text(request: Any) -> str:
    if not request.template:
        return "template is empty; give the text"
    try:
        render(request.template, request.params, MAX_BODY)
        subject = render(request.subject, request.params, MAX_SUBJECT)
    except TemplateError as error:
        return str(error)
    return (
        "subject becomes more than one line; remove line breaks and control characters"
        if CONTROL(subject)
        else ""
    )
