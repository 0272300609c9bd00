"""The OpenAPI document, made from the tables of views and commands and the models of what they take and answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from streams.web_actions import Action
from streams.web_commands import IDEMPOTENCY_KEY, Accepted, Command, Result
from streams.web_errors import CORRELATION, ErrorAnswer
from streams.web_events import (
    BATCH,
    MAX_EVENTS,
    ONE,
    PATH,
    PLAIN,
    SUMMARY,
    CloudEvent,
    Event,
    Outcomes,
    Taken,
)
from streams.web_views import Query, View

REF = "#/components/schemas/{model}"


def document(
    views: Sequence[View],
    commands: Sequence[Command],
    version: str,
    secured: bool,
    actions: Sequence[Action] = (),
) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of ``views``, ``commands`` and ``actions``.

    Args:
        views: the table of views.
        commands: the table of commands.
        version: of the program.
        secured: whether a token is asked for.
        actions: the operator's.
    """
    answers: set[type[BaseModel]] = {view.answer for view in views if view.answer is not None} | {
        ErrorAnswer,
        Accepted,
        Result,
        Taken,
        Outcomes,
        *(row.answer for row in actions),
    }
    bodies = {row.body for row in commands} | {row.body for row in actions} | {Event, CloudEvent}
    names, schemas = _schemas(answers, bodies)
    paths: dict[str, Any] = {view.path: {"get": _operation(view, names, secured)} for view in views}
    for row in commands:
        paths.setdefault(row.path, {})["post"] = _command(row, names, secured)
    for action in actions:
        paths.setdefault(action.path, {})["post"] = _action(action, names, secured)
    paths[PATH] = {"post": _events(names, secured)}
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": version,
            "description": "What the workers know, and the commands that change it.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }
    return made


Mode = Literal["serialization", "validation"]


def _schemas(
    answers: Iterable[type[BaseModel]], bodies: Iterable[Any]
) -> tuple[dict[type[BaseModel], Any], dict[str, Any]]:
    modes: dict[type[BaseModel], Mode] = dict.fromkeys(answers, "serialization")
    modes |= dict.fromkeys(bodies, "validation")
    ordered = sorted(modes.items(), key=lambda item: item[0].__name__)
    found, definitions = models_json_schema(ordered, ref_template=REF)
    return {model: found[model, mode] for model, mode in ordered}, definitions.get("$defs", {})


def _operation(view: View, names: dict[type[BaseModel], Any], secured: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": operation_id("get", view.path),
        "summary": view.summary,
        "parameters": [*_path_parameters(view.path), *_query_parameters(view.query)],
        "responses": _responses(view, names, secured),
    }
    if secured and not view.open:
        operation["security"] = [{"bearer": []}]
    return operation


def operation_id(method: str, path: str) -> str:
    """Return a name for the operation of a path: ``/usage/{tenant}`` gives ``get_usage_tenant``."""
    return "_".join([method, *re.findall(r"[A-Za-z0-9]+", path)]) if path != "/" else f"{method}_index"


def _command(row: Command, names: dict[type[BaseModel], Any], secured: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": operation_id("post", row.path),
        "summary": row.summary,
        "parameters": [
            *_path_parameters(row.path),
            *_query_parameters(row.query),
            *_header_parameters(row),
        ],
        "requestBody": {
            "required": any(field.is_required() for field in row.body.model_fields.values()),
            "content": {"application/json": {"schema": names[row.body]}},
        },
        "responses": _command_responses(row, names, secured),
    }
    if hasattr(row.record, "DEPRECATED"):
        operation["deprecated"] = True
    if secured:
        operation["security"] = [{"bearer": []}]
    return operation


def _action(row: Action, names: dict[type[BaseModel], Any], secured: bool) -> dict[str, Any]:
    header = {CORRELATION: {"schema": {"type": "string"}, "description": "Correlation id of the request."}}
    done = {
        "description": HTTPStatus.OK.phrase,
        "headers": header,
        "content": {"application/json": {"schema": names[row.answer]}},
    }
    errors = {400, 403, 415, 500, *row.errors} | ({401} if secured else set())
    operation: dict[str, Any] = {
        "operationId": operation_id("post", row.path),
        "summary": row.summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": names[row.body]}}},
        "responses": {"200": done} | _errors(errors, names),
    }
    if secured:
        operation["security"] = [{"bearer": []}]
    return operation


def _events(names: dict[type[BaseModel], Any], secured: bool) -> dict[str, Any]:
    header = {CORRELATION: {"schema": {"type": "string"}, "description": "Correlation id of the request."}}
    batch, plain = (
        {"type": "array", "items": names[model], "maxItems": MAX_EVENTS} for model in (CloudEvent, Event)
    )
    bodies = {ONE: names[CloudEvent], BATCH: batch, PLAIN: {"oneOf": [names[Event], plain]}}
    answers = (
        (202, "The broker has the event: it will count once.", Taken),
        (207, "What became of each event of a batch.", Outcomes),
    )
    done = {
        str(status): {
            "description": description,
            "headers": header,
            "content": {PLAIN: {"schema": names[model]}},
        }
        for status, description, model in answers
    }
    operation: dict[str, Any] = {
        "operationId": operation_id("post", PATH),
        "summary": SUMMARY,
        "parameters": [],
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": schema} for kind, schema in bodies.items()},
        },
        "responses": done | _errors({400, 403, 413, 415, 500, 503} | ({401} if secured else set()), names),
    }
    if secured:
        operation["security"] = [{"bearer": []}]
    return operation


def _header_parameters(row: Command) -> list[dict[str, Any]]:
    key = (
        "The command's id: sent again under it, the command is done once and answered with its first result."
    )
    headers = [(IDEMPOTENCY_KEY, {"type": "string", "minLength": 1, "maxLength": 128}, key)]
    if row.versioned:
        match = "ETag of the view: the command is refused with 412 where the version is another one by then."
        headers.append(("If-Match", {"type": "string", "pattern": '^"[0-9]+"$'}, match))
    return [
        {"name": name, "in": "header", "required": False, "schema": schema, "description": description}
        for name, schema, description in headers
    ]


def _command_responses(row: Command, names: dict[type[BaseModel], Any], secured: bool) -> dict[str, Any]:
    header = {CORRELATION: {"schema": {"type": "string"}, "description": "Correlation id of the request."}}
    place = {"Location": {"schema": {"type": "string"}, "description": "The view that shows the result."}}
    headers = header | (place if row.location else {})
    responses = {
        str(status): {
            "description": description,
            "headers": headers,
            "content": {"application/json": {"schema": names[model]}},
        }
        for status, description, model in (
            (row.status, "The result, and views show it.", Result),
            (202, "The command will be done once; the result is not there yet.", Accepted),
        )
    }
    return responses | _errors(
        {400, 403, 404, 409, 412, 415, 500, 503} | ({401} if secured else set()), names
    )


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(model: type[Query]) -> list[dict[str, Any]]:
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    parameters = []
    for name, found in schema.get("properties", {}).items():
        inline = _inlined(found, definitions)
        parameter = {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "schema": inline,
        }
        if "description" in inline:
            parameter["description"] = inline.pop("description")
        parameters.append(parameter)
    return parameters


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """Return a parameter's schema without references, of which pydantic makes some for enums."""
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(part, definitions) for key, part in schema.items()}


def _responses(view: View, names: dict[type[BaseModel], Any], secured: bool) -> dict[str, Any]:
    header = {CORRELATION: {"schema": {"type": "string"}, "description": "Correlation id of the request."}}
    schema = names[view.answer] if view.answer is not None else {}
    responses: dict[str, Any] = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "headers": header,
            "content": {view.content_type: {"schema": schema}},
        }
        for status in view.status
    }
    errors = {*view.errors, 500}
    if not view.open:
        errors |= {401, 403} if secured else {403}
    return responses | _errors(errors, names)


def _errors(statuses: Iterable[int], names: dict[type[BaseModel], Any]) -> dict[str, Any]:
    header = {CORRELATION: {"schema": {"type": "string"}, "description": "Correlation id of the request."}}
    wait = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
    return {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "headers": header | (wait if status == 503 else {}),
            "content": {"application/json": {"schema": names[ErrorAnswer]}},
        }
        for status in sorted(statuses)
    }
