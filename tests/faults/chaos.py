"""One run: load, faults, drain, and the comparison of everything with the independent count."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol
from uuid import uuid4

from ops.stack.local import LocalStack
from tests.faults.load import Load
from tests.faults.processes import Worker, until
from tests.faults.scenario import Scenario
from tests.faults.verify import Verdict

SESSION_S = 4.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything a run does.

    Attributes:
        seed: of the faults and of the load.
        store: memory or rocksdict.
        events: number of distinct good events.
        kills: SIGKILLs of workers, at the least.
        rate: events per second.
    """

    seed: int
    store: str = "memory"
    events: int = 200_000
    kills: int = 12
    terms: int = 3
    zombies: int = 3
    broker_pauses: int = 4
    broker_kills: int = 2
    rate: float = 2_000.0
    poison: int = 240


@dataclass
class Result:
    """What a run did and found (``build/faults.json``)."""

    seed: int
    store: str
    index: str = "totals"
    events: int = 0
    lost: int = 0
    doubled: int = 0
    kills: int = 0
    terms: int = 0
    zombies: int = 0
    broker_faults: int = 0
    rebalances: int = 0
    repeated: int = 0
    forwarded: int = 0
    poison: int = 0
    repeated_outputs: int = 0
    exits: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def bad(self) -> bool:
        """Whether anything was lost, doubled or otherwise wrong."""
        return bool(self.lost or self.doubled or self.problems)


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """Return the sums over all runs, and each run; seed and store are those of the first bad run, or of the last."""
    found = asdict(next((result for result in results if result.bad), results[-1]))
    for name in ("events", "lost", "doubled", "kills", "terms", "zombies", "broker_faults", "rebalances"):
        found[name] = sum(getattr(result, name) for result in results)
    found["runs"] = [asdict(result) for result in results]
    return found


class Chaos:
    """Disturbs workers and broker until the plan is done."""

    def __init__(
        self, plan: Plan, stack: LocalStack, workers: list[Worker], result: Result, say: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._random = Random(plan.seed * 7919 + 1)
        self._stack = stack
        self._workers = workers
        self._result = result
        self._say = say

    def run(self) -> None:
        """One worker, two, then one again, with a third of the kills and broker faults in each phase."""
        plan, first, second = self._plan, self._workers[0], self._workers[1]
        kills, terms = _thirds(plan.kills), _thirds(plan.terms)
        pauses, crashes = _thirds(plan.broker_pauses), _thirds(plan.broker_kills)
        self._phase("one worker", [first], kills[0], terms[0], 0, pauses[0], crashes[0])
        second.supervise()
        until(second.ready, 60, "the second worker")
        self._phase("two workers", [first, second], kills[1], terms[1], plan.zombies, pauses[1], crashes[1])
        second.stop()
        self._phase("one worker again", [first], kills[2], terms[2], 0, pauses[2], crashes[2])

    def _phase(
        self,
        name: str,
        workers: list[Worker],
        kills: int,
        terms: int,
        zombies: int,
        pauses: int,
        crashes: int,
    ) -> None:
        faults = [*[self._kill] * kills, *[self._term] * terms, *[self._zombie] * zombies]
        faults += [*[self._pause_broker] * pauses, *[self._kill_broker] * crashes]
        self._random.shuffle(faults)
        self._say(f"{name}: {len(faults)} faults")
        for fault in faults:
            fault(self._random.choice(workers))
            time.sleep(self._random.uniform(0.2, 3.0))
        for worker in workers:
            until(worker.ready, 90, f"{worker.name} after {name}")

    def _kill(self, worker: Worker) -> None:
        # Half of the kills hit the worker again at a random moment of its restart: also during recovery.
        self._say(f"kill {worker.name}")
        until(worker.kill, 30, f"a process of {worker.name} to kill")
        self._result.kills += 1
        if self._random.random() < 0.5:
            time.sleep(self._random.uniform(0.5, 4.0))
            self._say(f"kill {worker.name} while it starts")
            self._result.kills += worker.kill()

    def _term(self, worker: Worker) -> None:
        until(worker.ready, 90, f"{worker.name} before its end")  # one that still starts has nothing to drain
        self._say(f"terminate {worker.name}")
        until(worker.terminate, 30, f"a process of {worker.name} to terminate")
        self._result.terms += 1

    def _zombie(self, worker: Worker) -> None:
        until(worker.ready, 90, f"{worker.name} before its pause")
        self._say(f"pause {worker.name} beyond its session")
        if worker.pause():
            time.sleep(SESSION_S + self._random.uniform(1.0, 5.0))
            worker.resume()
            self._result.zombies += 1

    def _pause_broker(self, worker: Worker) -> None:
        self._say("pause the broker")
        self._stack.pause_kafka()
        time.sleep(self._random.uniform(0.5, 5.0))
        if self._random.random() < 0.5:
            self._say(f"kill {worker.name} while the broker is paused")
            self._result.kills += worker.kill()
        self._stack.resume_kafka()
        self._result.broker_faults += 1

    def _kill_broker(self, worker: Worker) -> None:
        self._say("kill the broker")
        self._stack.kill_kafka()
        self._stack.start_kafka()
        self._result.broker_faults += 1


def _thirds(count: int) -> list[int]:
    return [(count + 2) // 3, (count + 1) // 3, count // 3]


def run(plan: Plan, stack: LocalStack, folder: Path, say: Callable[[str], None]) -> Result:
    """Run a plan against a running stack that may be disturbed, and return what was found."""
    started = time.monotonic()
    result, verdict = Result(plan.seed, plan.store), Verdict()
    variables = {"SLUICE_STORE": plan.store, "SLUICE_SESSION_TIMEOUT_S": str(SESSION_S)}
    with Scenario(stack, f"f{uuid4().hex[:8]}", folder, **variables) as scenario:
        load = scenario.load(events=plan.events, seed=plan.seed, rate=plan.rate, poison=plan.poison)
        workers = [scenario.worker("w1"), scenario.worker("w2")]
        try:
            workers[0].supervise()
            until(workers[0].ready, 90, "the first worker")
            load.start()
            Chaos(plan, stack, workers, result, say).run()
            say(f"faults done after {load.sent} events; waiting for the rest")
            load.join(600)
            verdict = _compare(scenario, load, workers[0], result, say)
        except (TimeoutError, AssertionError) as failure:
            verdict.note(str(failure))
    finish(result, verdict, workers, load)
    result.seconds = round(time.monotonic() - started, 1)
    return result


def _compare(
    scenario: Scenario, load: Load, worker: Worker, result: Result, say: Callable[[str], None]
) -> Verdict:
    late = ""
    try:
        scenario.await_drained(240)
    except TimeoutError as error:
        late = str(error)
    say(late or "drained; comparing")
    truth, verdict = scenario.compare(load, worker)
    if late:
        verdict.note(late)
    result.forwarded, result.poison = truth.forwarded, len(truth.dead)
    return verdict


class Counted(Protocol):
    """What a result tells of a load."""

    sent: int
    repeated: int


def finish(result: Result, verdict: Verdict, workers: list[Worker], load: Counted) -> None:
    """Put what was found into the result."""
    for worker in workers:
        for code in worker.exits:
            result.exits[str(code)] = result.exits.get(str(code), 0) + 1
    result.rebalances = sum(worker.log_text().count("restored ") for worker in workers)
    result.repeated = load.repeated
    result.events = load.sent
    result.lost, result.doubled = verdict.lost, verdict.doubled
    result.repeated_outputs = verdict.repeated_outputs
    result.problems = verdict.problems
