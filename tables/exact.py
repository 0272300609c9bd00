"""Decimal arithmetic of the rules: no digit of a real amount is lost, whatever the caller's own context is."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, DivisionByZero, InvalidOperation, Overflow

EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
"""Never rounds what the contracts can hold: their decimals have 38 digits, Python's default 28."""
