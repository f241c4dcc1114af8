"""Playing several scenarios in several forms, the slow ones at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import anyio

from resilient_sse.testing.clock import BackendName, run_in_virtual_time
from resilient_sse.testing.scenarios.log import Entry, RunLog
from resilient_sse.testing.scenarios.play import Scenario, play
from resilient_sse.testing.scenarios.stage import Driver, Form
from resilient_sse.testing.scenarios.virtual import VirtualDriver

__all__ = ["play_all", "play_at_once"]


async def play_at_once(
    scenarios: Iterable[Scenario], driver: Driver, *, done: Callable[[str], None] | None = None
) -> list[RunLog]:
    """
    Play scenarios at the same time, in the present event loop, and return their logs in their order.

    Those that compare times are played first, one after the other.

    Args:
        scenarios: The scenarios.
        driver: What they are played with.
        done: Is told the name of each run that is over.
    """
    wanted = list(scenarios)
    logs: dict[str, RunLog] = {}

    async def one(scenario: Scenario) -> None:
        logs[scenario.key] = log = await play(scenario, driver)
        if done is not None:
            done(log.name)

    for scenario in wanted:
        if scenario.alone:
            await one(scenario)
    async with anyio.create_task_group() as tasks:
        for scenario in wanted:
            if not scenario.alone:
                tasks.start_soon(one, scenario)
    return [logs[scenario.key] for scenario in wanted]


def play_all(
    scenarios: Sequence[Scenario],
    forms: Iterable[str],
    *,
    seed: int,
    done: Callable[[str], None] | None = None,
    backend: BackendName = "asyncio",
) -> list[Entry]:
    """
    Play scenarios in one form after the other and return the whole log.

    Virtual runs take a second altogether.  Those over sockets are played at the same time: about 45 seconds.

    Args:
        scenarios: The scenarios.
        forms: `"virtual"`, `"real"`.
        seed: Where randomness starts.
        done: Is told the name of each run that is over.
        backend: The event loop.

    Raises:
        ValueError: A form is unknown.
        ModuleNotFoundError: The form over sockets needs `resilient-sse[testing]`.
    """
    entries: list[Entry] = []
    for form in map(Form, forms):
        if form is Form.VIRTUAL:
            for scenario in scenarios:
                log = run_in_virtual_time(play, scenario, VirtualDriver(seed), backend=backend)
                entries += log.ordered()
                if done is not None:
                    done(log.name)
            continue
        from resilient_sse.testing.scenarios.real import RealDriver  # noqa: PLC0415 - needs the extra

        work = partial(play_at_once, scenarios, RealDriver(seed), done=done)
        for log in anyio.run(work, backend=backend):
            entries += log.ordered()
    return entries
