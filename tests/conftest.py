"""What tests share: one real broker and registry for the whole run, on free ports, in a temporary folder.

``make test`` runs two processes, each with a stack of its own.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from uuid import uuid4

import pytest

from ops.stack.local import LocalStack, Ports

# Brokers and registries of tests live for minutes: they start sooner without the compiler that makes long runs fast.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")

GARBAGE_EVERY = 100_000
"""Containers between two searches for garbage, as in a worker; with Python's 700 they take a fifth of the CPU."""


def pytest_collection_finish() -> None:
    """Take modules and collected tests, which live to the end, out of the search for garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_EVERY)


@pytest.fixture(scope="session")
def _session_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with LocalStack(tmp_path_factory.mktemp("stack"), Ports.free()) as stack:
        yield stack


@pytest.fixture(scope="session")
def broker(_session_stack: LocalStack) -> LocalStack:
    """The stack of the run, with its broker up. Do not disturb it: other tests use it too."""
    _session_stack.start_kafka()
    return _session_stack


@pytest.fixture(scope="session")
def stack(broker: LocalStack) -> LocalStack:
    """The stack of the run, with broker and registry up. Do not disturb it: other tests use it too."""
    broker.start_registry()
    return broker


@pytest.fixture(scope="session")
def _breakable_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with LocalStack(tmp_path_factory.mktemp("breakable-stack"), Ports.free()) as stack:
        yield stack


@pytest.fixture
def breakable(_breakable_stack: LocalStack) -> LocalStack:
    """A second stack, up, to be killed, paused and stopped at will: what a test leaves down is started for the next."""
    _breakable_stack.start()
    return _breakable_stack


@pytest.fixture
def unique() -> str:
    """A short name that no other test has, for topics, groups and app ids on the shared broker."""
    return f"t{uuid4().hex[:10]}"
