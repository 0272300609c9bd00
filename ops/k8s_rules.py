"""Write ``ops/k8s/monitoring/rules.yaml``: Prometheus' own rule files as the resource that its operator reads.

Run ``python -m ops.k8s_rules`` after a change in ``ops/prometheus/rules``; a drift test compares.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

RULES: Final = Path(__file__).parent / "prometheus" / "rules"
TARGET: Final = Path(__file__).parent / "k8s" / "monitoring" / "rules.yaml"
HEAD: Final = "# Written by `make generate` from ops/prometheus/rules; do not edit.\n"


def resource() -> dict[str, Any]:
    """Return the resource: the groups of every rule file, in the order of the files' names."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(RULES.glob("*.yml"))]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "sluice"},
        "spec": {"groups": [group for file in files for group in file["groups"]]},
    }


def text() -> str:
    """Return the text of the file."""
    return HEAD + str(yaml.safe_dump(resource(), sort_keys=False, width=110, allow_unicode=True))


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
