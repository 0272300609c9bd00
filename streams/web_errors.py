"""What views and commands say when they cannot answer: one body for all errors (contracts 3.0, 3.13; 000-11 to -15)."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from uuid import uuid4

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from streams.failures import classify

log = logging.getLogger(__name__)

CORRELATION = "X-Correlation-Id"
CORRELATION_KEY = web.RequestKey("correlation_id", str)
RETRY_AFTER_S = 1
"""Recovery takes seconds; asking again sooner would only cost."""

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "sluice"}
"""Answers are true for a moment, and tell nothing about what runs here."""

INVALID = "the request has invalid parameters; correct what details lists"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ErrorDetail(BaseModel):
    """One thing that is wrong with a request."""

    field: str = Field(description="The parameter.")
    reason: str = Field(description="What is wrong with it.")


class ErrorBody(BaseModel):
    """Why a request was not answered."""

    code: str = Field(description="A code of the contract, such as VALIDATION_FAILED.")
    message: str = Field(description="The cause, and what to do about it.")
    details: list[ErrorDetail] = []
    correlation_id: str = Field(description="The request's X-Correlation-Id, or a generated one.")


class ErrorAnswer(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorBody


class HttpError(Exception):
    """A request cannot be answered. The message must hold nothing of another tenant's data."""

    status = 500
    code = "INTERNAL_ERROR"

    def __init__(self, message: str, details: Sequence[ErrorDetail] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details = list(details)

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to the answer."""
        return {}


class ValidationFailed(HttpError):
    """The request is wrong; ``details`` has all that is (000-12)."""

    status = 400
    code = "VALIDATION_FAILED"

    @classmethod
    def of(cls, error: ValidationError) -> ValidationFailed:
        """Return what pydantic found wrong with query parameters, without their values."""
        found = error.errors(include_input=False, include_url=False, include_context=False)
        details = [
            ErrorDetail(
                field=".".join(map(str, entry["loc"])), reason=entry["msg"].removeprefix("Value error, ")
            )
            for entry in found
        ]
        return cls(INVALID, details)


class Unauthenticated(HttpError):
    """No token, or a wrong one (000-13)."""

    status = 401
    code = "UNAUTHENTICATED"

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class Forbidden(HttpError):
    """The token does not allow this (000-14)."""

    status = 403
    code = "FORBIDDEN"


class NotFound(HttpError):
    """There is no such thing (000-11)."""

    status = 404
    code = "NOT_FOUND"


class Conflict(HttpError):
    """The request does not fit the state that there is (000-15)."""

    status = 409
    code = "CONFLICT"


class UnsupportedMedia(HttpError):
    """A command is not JSON, or does not say that it is."""

    status = 415
    code = "UNSUPPORTED_MEDIA_TYPE"


REFUSALS = {
    "VALIDATION_FAILED": 400,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "VERSION_CONFLICT": 412,
}
FAILURES = REFUSALS | {
    "CONFLICT": 409,
    "DUPLICATE_CONFLICT": 409,
    "TIMEOUT": 503,
    "RATE_LIMIT": 503,
    "TEMPORARY_FAILURE": 503,
}


class Refused(HttpError):
    """A command was refused by a rule, or became a dead letter (contracts 3.0)."""

    def __init__(self, code: str, message: str, *, failed: bool) -> None:
        super().__init__(message or "the command was refused; the view shows the state that it does not fit")
        self.code = code
        self.status = FAILURES.get(code, 500) if failed else REFUSALS.get(code, 409)


class NotReady(HttpError):
    """Nobody can answer right now: the partition recovers, or its owner is not reachable. Later it works."""

    status = 503
    code = "TEMPORARY_FAILURE"

    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(RETRY_AFTER_S)}


HTTP_CODES = {
    400: "VALIDATION_FAILED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "VALIDATION_FAILED",
}


def error_response(error: HttpError, correlation_id: str) -> web.Response:
    """Return the answer that tells of ``error``."""
    body = ErrorBody(
        code=error.code, message=error.message, details=error.details, correlation_id=correlation_id
    )
    return web.json_response(
        text=ErrorAnswer(error=body).model_dump_json(), status=error.status, headers=error.headers()
    )


def correlation_of(request: web.Request) -> str:
    """Return the request's correlation id, or a new one where it has none that is safe to log and to echo."""
    given = request.headers.get(CORRELATION, "")
    return given if re.fullmatch(r"[\x21-\x7e]{1,128}", given) else str(uuid4())


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every request a correlation id, and every failure the body of the contract."""
    correlation_id = request[CORRELATION_KEY] = correlation_of(request)
    try:
        response = await handler(request)
    except HttpError as error:
        response = error_response(error, correlation_id)
    except web.HTTPException as error:
        response = _of_aiohttp(error, correlation_id)
    except Exception as error:
        # Neither the path nor the exception's text is logged: both may hold keys of users' events.
        failure = classify(error)
        log.error(
            "a view failed: %s, correlation id %s: %s\n%s",
            route_of(request),
            correlation_id,
            failure.exception,
            failure.stacktrace,
            extra={"correlation_id": correlation_id, "code": failure.code},
        )
        response = error_response(
            HttpError("the worker failed to answer; its log has the cause under the correlation id"),
            correlation_id,
        )
    response.headers.update(HEADERS)
    response.headers[CORRELATION] = correlation_id
    return response


def route_of(request: web.Request) -> str:
    """Return the pattern of the route that a request took; it holds no keys."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "no route"


def _of_aiohttp(error: web.HTTPException, correlation_id: str) -> web.Response:
    messages = {
        404: "there is no such path; GET / lists those that exist",
        405: "this path is not for this method; /openapi.json lists what is read with GET and changed with POST",
    }
    status = error.status
    problem = HttpError(messages.get(status, HTTPStatus(status).phrase.lower()))
    problem.status, problem.code = status, HTTP_CODES.get(status, HTTPStatus(status).name)
    response = error_response(problem, correlation_id)
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response
