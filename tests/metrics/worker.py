"""
One process of several, for the tests of multi-process mode.

    python -m tests.metrics.worker torment        go through the torment, print its figures, end
    python -m tests.metrics.worker die            the same, but end without any farewell, a second later
    python -m tests.metrics.worker hold           keep a stream open until there is no more input
    python -m tests.metrics.worker fork           have a child do its part, too, after streams of the parent
    python -m tests.metrics.worker forks          fork thirty times in the midst of writing
    python -m tests.metrics.worker label          as torment, with a label
    python -m tests.metrics.worker twice          have two registries
    python -m tests.metrics.worker nowhere        as torment, but lose the directory before the figures are written
"""

import json
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter

from resilient_sse import StreamStats
from resilient_sse.metrics import prometheus_processes
from resilient_sse.metrics.prometheus import PrometheusMetrics
from resilient_sse.testing import Script, run_in_virtual_time
from tests.client.support import make, numbered, take
from tests.metrics.torment import tormented

METRICS = PrometheusMetrics(labels={"network": ["4g"]} if sys.argv[1] == "label" else None)
if sys.argv[1] == "twice":
    METRICS = PrometheusMetrics(CollectorRegistry())
INSTRUMENT = METRICS.labelled(network="4g") if sys.argv[1] == "label" else METRICS


def tell(line: str) -> None:
    """Write a line for the test to read."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def one() -> None:
    """Go through the torment and print what the stream has counted."""
    stream = await tormented(Script(), INSTRUMENT)
    tell(json.dumps(stream.stats.to_dict()))


def torment() -> None:
    """End as programs do: nothing is flushed but by the interpreter's end."""
    run_in_virtual_time(one)
    if "PROGRAM_COUNTS" in os.environ:
        Counter("program_done", "What the program counts itself.").inc()


def die() -> None:
    """End as killed programs do, after the figures were written once by themselves."""
    run_in_virtual_time(one)
    time.sleep(2.5)
    os._exit(0)


def hold() -> None:
    """Keep a stream open."""

    async def follow() -> None:
        script = Script()
        script.respond(*numbered(1, 2)).hang()
        async with make(script, observers=[METRICS]) as stream:
            await take(stream, 2)
            METRICS.flush()
            tell("held")
            sys.stdin.read()

    run_in_virtual_time(follow)


def fork() -> None:
    """Count in the parent, then in a child, then in the parent again."""
    run_in_virtual_time(one)
    METRICS.flush()
    if os.fork() == 0:
        run_in_virtual_time(one)
        METRICS.flush()
        os._exit(0)
    assert os.wait()[1] == 0
    run_in_virtual_time(one)


def forks() -> None:
    """Fork again and again in the midst of writing."""
    prometheus_processes.INTERVAL = 0
    sys.setswitchinterval(1e-6)  # the writer is cut short anywhere
    observer = METRICS.attach(StreamStats(started_at=0.0), "https://host/stream")
    for _ in range(30):
        if os.fork() == 0:
            signal.alarm(20)  # a child that hangs is killed, and seen
            child = METRICS.attach(StreamStats(started_at=0.0), "https://host/stream")
            METRICS.flush()
            os._exit(child is None)
        assert os.wait()[1] == 0, "a child hung"
    del observer


def twice() -> None:
    """Export to two registries, which share the files."""
    run_in_virtual_time(one)
    run_in_virtual_time(tormented, Script(), PrometheusMetrics())


def nowhere() -> None:
    """Lose the directory, and let a stream go on all the same."""
    run_in_virtual_time(one)
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    run_in_virtual_time(one)


JOBS: dict[str, Callable[[], Any]] = {
    "die": die,
    "fork": fork,
    "forks": forks,
    "hold": hold,
    "label": torment,
    "nowhere": nowhere,
    "torment": torment,
    "twice": twice,
}

if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    JOBS[sys.argv[1]]()
