"""What all tests share: both backends, virtual time, and a scripted server."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from random import randrange
from typing import Any

import pytest

from resilient_sse.testing import Script, virtual_backend
from tests.client.support import Record
from tests.skipping import MISSING

HERE = Path(__file__).parent
REAL_TIME = HERE / "e2e"
REAL_SERVERS = (HERE / "relay", HERE / "checkpoints")
"""Their tests have a clock of their own: work is done in threads, files and servers."""

SET_UP_ONCE = (
    "tests/streaming/",
    "tests/examples/",
)
"""What takes long to set up; each of these stays in one process."""

# Hundreds of tests start an interpreter; without bytecode each of them compiles the whole package again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Behind `&` in a script, Ctrl-C is ignored, and programs that are started here would ignore it, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# pytest-xdist says how large the terminal is; the programs that are tested on one ask the terminal.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Mark what follows from where a test lies, and put what takes long first, so that no process ends alone.

    What lies in `tests/e2e` gets real time, and `-m "not e2e"` leaves it out.  A proof must be asked for by `-m`;
    trio's half of what takes long is one.
    """
    for item in items:
        if item.path.is_relative_to(REAL_TIME):
            item.add_marker("e2e")
        if item.get_closest_marker("slow") and on_trio(item):
            item.add_marker("proof")
    if "proof" not in config.option.markexpr:
        proofs = [item for item in items if item.get_closest_marker("proof")]
        config.hook.pytest_deselected(items=proofs)
        items[:] = [item for item in items if not item.get_closest_marker("proof")]
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process a test at a time; keep together what is set up once, and the blocks of a page."""
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - without pytest-xdist nobody asks

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path, _, _ = nodeid.partition("::")
            if path.endswith(".md"):
                return path
            return next((place for place in SET_UP_ONCE if nodeid.startswith(place)), nodeid)

    return Scheduling(config, log)


def on_trio(item: pytest.Item) -> bool:
    """Whether this is a test's half for trio."""
    callspec = getattr(item, "callspec", None)
    return callspec is not None and "trio" in callspec.params.values()


FRESH = pytest.StashKey[int]()
"""The seed of the plans that the simulation plays in this run, see `tests/simulation/test_simulation.py`."""


def pytest_configure(config: pytest.Config) -> None:
    """Draw a fresh seed; the processes of pytest-xdist inherit the environment, and so have the same."""
    given = os.environ.setdefault("SIMULATION_FRESH", str(randrange(10**9)))
    config.stash[FRESH] = int(given)


def pytest_report_header(config: pytest.Config) -> str:
    """Print what plays them again."""
    return f"simulation: SIMULATION_FRESH={config.stash[FRESH]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was skipped for want of a program or of rights, also without `-rs`."""
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()) if report.longrepr]
    for reason, count in Counter(reasons).items():
        _, missing, why = reason.partition(MISSING)
        if missing:
            terminalreporter.write_line(f"SKIPPED {count}, {why}", yellow=True)


def cpu_seconds() -> float:
    """Return how much of the CPU this process and those that it has waited for have used."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """In CI, fail a test that works for more than a second without the mark `slow`; waiting is not counted."""
    report = yield
    used = cpu_seconds() - item.stash.get(STARTED, cpu_seconds())
    unmarked = not any(item.get_closest_marker(name) for name in ("slow", "proof"))
    if call.when == "call" and report.passed and unmarked and used > CPU_LIMIT and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"it took {used:.1f} s of CPU: mark it slow, or make it cheaper"
    return report


CPU_LIMIT = 5.0  # seconds; what takes one on a quiet machine takes up to four times that on a shared one
STARTED = pytest.StashKey[float]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Note what was used before."""
    item.stash[STARTED] = cpu_seconds()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run async tests on both backends: in virtual time, or in real time if they are marked `e2e` or need it."""
    if request.node.get_closest_marker("e2e") or request.path.parent in REAL_SERVERS:
        return request.param
    return virtual_backend(request.param)


@pytest.fixture(autouse=True)
def no_proxy(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep the environment's proxies from tests with real sockets: every server is on the loopback interface."""
    with pytest.MonkeyPatch.context() as environment:
        if request.node.get_closest_marker("e2e"):
            for name in list(os.environ):
                if name.lower().endswith("_proxy"):
                    environment.delenv(name)
        yield


@pytest.fixture
def script() -> Iterator[Script]:
    """Give a scripted server; a request that it did not expect fails the test even if the client hid it."""
    script = Script()
    yield script
    script.verify()


@pytest.fixture
def record() -> Record:
    """Give a callback that keeps what it is told."""
    return Record()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Any]:
    """Run a Valkey that the test may stop."""
    from tests.testing.server import valkey  # noqa: PLC0415 - redis-py may be missing where nobody asks for it

    with valkey.valkey(tmp_path) as server:
        yield server
