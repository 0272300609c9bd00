"""What a PromQL expression asks for: its selectors, and the parts that must have data while everything is well."""

from __future__ import annotations

import re
from collections.abc import Iterator

from promql_parser import (
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    ParenExpr,
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
    parse,
    walk,
)

FILTERS = {"==", "!=", ">", "<", ">=", "<=", "and", "or", "unless"}
CHOSEN = re.compile(r"\$(job|instance|topic|table)\b")


def plain(expr: str) -> str:
    """Return an expression of a dashboard as Grafana sends it when everything is chosen."""
    return CHOSEN.sub(".+", expr).replace("$__rate_interval", "10s")


def selectors(expr: Expr) -> list[VectorSelector]:
    """Return every selector of an expression."""
    found: list[VectorSelector] = []

    def visit(node: Expr) -> None:
        if isinstance(node, VectorSelector):
            found.append(node)

    walk(expr, visit)
    return found


def pieces(text: str) -> list[str]:
    """Return the parts of an expression that have data whether a condition holds or not.

    An alert compares, and gives nothing while all is well; so what it compares is looked at, without the time shift to
    a past that a test does not have.
    """
    return [re.sub(r"\s+offset \w+", "", part.prettify()) for part in _pieces(parse(text))]


def _pieces(expr: Expr) -> Iterator[Expr]:
    if not selectors(expr):
        return
    if not _filters(expr):
        yield expr
        return
    for child in _children(expr):
        yield from _pieces(child)


def _filters(expr: Expr) -> bool:
    return (isinstance(expr, BinaryExpr) and str(expr.op) in FILTERS) or any(map(_filters, _children(expr)))


def _children(expr: Expr) -> list[Expr]:
    if isinstance(expr, BinaryExpr):
        return [expr.lhs, expr.rhs]
    if isinstance(expr, Call):
        return list(expr.args)
    if isinstance(expr, AggregateExpr | ParenExpr | UnaryExpr | SubqueryExpr):
        return [expr.expr]
    return []
