"""The pages that every worker serves beside the views and commands of its tables."""

from __future__ import annotations

from typing import Final

from ops import console_pages, dlq_web
from ops.reference import web as reference_web

PAGES: Final = (dlq_web.build, reference_web.build, console_pages.build)
