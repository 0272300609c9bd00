"""The reference on the worker's web port: ``/asyncapi.json`` for programs, ``/reference`` for people.

They follow the rules of ``/openapi.json``: who may ask anything may read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aiohttp import web

from ops.reference.asyncapi import document
from ops.reference.model import carriers, channels
from ops.reference.page import page
from streams.schemas import contracts
from streams.web import program_version
from streams.web_actions import Action
from streams.web_views import Call, View

if TYPE_CHECKING:
    from streams.app import SluiceApp

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The page loads nothing and runs nothing."""


def build(app: SluiceApp) -> None:
    """Add the reference to a worker's web port."""
    app.pages.append(ReferencePages(app))


class ReferencePages:
    """The documents of one worker. Each is made when somebody asks for it first: most workers are never asked."""

    def __init__(self, app: SluiceApp) -> None:
        self._app = app

    def views(self) -> Sequence[View]:
        """Return what there is to read."""
        return [
            View("/asyncapi.json", self.asyncapi),
            View("/reference", self.reference, content_type="text/html"),
        ]

    def actions(self) -> Sequence[Action]:
        """Return what there is to do: nothing."""
        return []

    async def close(self, server: web.Application) -> None:
        """Nothing is ever under way."""

    async def asyncapi(self, call: Call) -> web.Response:
        """Return what travels on the topics as an AsyncAPI document."""
        return web.json_response(self._document)

    async def reference(self, call: Call) -> web.Response:
        """Return topics, schemas and metrics as a page for people."""
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        return web.Response(text=self._page, content_type="text/html", headers=headers)

    @cached_property
    def _document(self) -> dict[str, Any]:
        return document(self._app.settings, self._app.index, program_version())

    @cached_property
    def _page(self) -> str:
        found = channels(self._app.index, self._app.settings.app_id)
        return page(found, contracts().values(), carriers(found), program_version())
