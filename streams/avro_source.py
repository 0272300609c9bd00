"""Python source of a function while it is written: what compiled readers and writers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streams.schemas import Node


@dataclass
class Source:
    """The lines of one function.

    Attributes:
        constants: what the lines name, beside the names that every function may use.
        depth: indentation of the next line.
    """

    constants: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    depth: int = 1
    names: int = 0

    def emit(self, *lines: str) -> None:
        """Add lines at the current depth."""
        self.lines += ["    " * self.depth + line for line in lines]

    def name(self, prefix: str = "v") -> str:
        """Return a name not used before."""
        self.names += 1
        return f"{prefix}{self.names}"

    def constant(self, value: Any) -> str:
        """Return a name for ``value``."""
        name = self.name("K")
        self.constants[name] = value
        return name

    def compile(self, arguments: str, common: Mapping[str, Any], what: str) -> Callable[..., Any]:
        """Return the function.

        Args:
            arguments: its own arguments, up to those that hold what it names. Those have defaults, which makes them
                locals: Python reads locals faster than globals.
            common: names that every function may use.
            what: what it is, for stack traces.
        """
        scope = {**common, **self.constants}
        head = f"def function({arguments}, {', '.join(f'{name}={name}' for name in scope)}):"
        # The lines hold numbers, names made here and our own fields' names; no text of anybody else's schema.
        exec(compile("\n".join([head, *self.lines]), f"<{what}>", "exec"), scope)  # noqa: S102
        function: Callable[..., Any] = scope["function"]
        return function


def plain(node: Node, named: Mapping[str, Node]) -> Node:
    """Return ``node`` as a definition or union, whichever way it was spelled."""
    if isinstance(node, str):
        return named.get(node, {"type": node})
    if isinstance(node, dict) and not isinstance(node["type"], str):
        return plain(node["type"], named)
    if isinstance(node, dict) and node["type"] in named:
        return named[node["type"]]
    return node
