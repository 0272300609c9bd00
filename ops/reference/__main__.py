"""Write the reference again: ``python -m ops.reference``.

With ``--check`` nothing is written, and the exit status tells whether the committed files are what the code gives. The
drift test does the same.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from ops.reference.asyncapi import document
from ops.reference.markdown import schemas_page, topics_page
from ops.reference.model import carriers, channels, versions
from streams.routes import INDEX
from streams.schemas import contracts
from streams.settings import Settings
from streams.web import program_version

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "reference"
COMMAND: Final = "python -m ops.reference"


def files() -> dict[str, str]:
    """Return the text of each file of ``docs/reference``, for the settings' defaults, whatever the environment says."""
    settings = Settings.model_construct()
    found = channels(INDEX, settings.app_id)
    asyncapi = document(settings, INDEX, program_version())
    return {
        "asyncapi.json": laid_out(asyncapi) + "\n",
        "topics.md": topics_page(found),
        "schemas.md": schemas_page(contracts().values(), carriers(found), versions()),
    }


def laid_out(node: Any, levels: int = 4, indent: str = "") -> str:
    """Return JSON with a line for each part of the upper ``levels``: small, and a change still shows where it is."""
    if not isinstance(node, dict) or not node or not levels:
        return json.dumps(node, ensure_ascii=False, separators=(", ", ": "))
    deeper = indent + " "
    parts = (f"{deeper}{json.dumps(key)}: {laid_out(part, levels - 1, deeper)}" for key, part in node.items())
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


def stale(folder: Path = FOLDER) -> list[str]:
    """Return the names of the files that are missing or not what the code gives."""
    return [
        name
        for name, text in files().items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str], folder: Path = FOLDER) -> int:
    """Write the files, or with ``--check`` compare them; return the exit status."""
    if "--check" in arguments:
        wrong = stale(folder)
        if wrong:
            print(
                f"docs/reference: {', '.join(wrong)} is not what the code gives; run `{COMMAND}`",
                file=sys.stderr,
            )
        return 1 if wrong else 0
    folder.mkdir(exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
