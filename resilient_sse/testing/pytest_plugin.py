"""
The pytest plugin: fixtures with names that begin with `sse_`, and a mark for virtual time.

Pytest imports this module at the start of every run in an environment where the package is installed, whatever
is tested there.  So it imports nothing but the standard library and pytest; fixtures import what they need.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_sse.testing.background import RunningProxy
    from resilient_sse.testing.clock import BackendName
    from resilient_sse.testing.recorder import Recorder
    from resilient_sse.testing.script import Script
    from resilient_sse.testing.server import RunningServer

VIRTUAL_TIME = "sse_virtual_time"
MAX_REQUESTS = 10_000
"""How many requests `sse_script` answers; in virtual time a client could retry for ever."""

SCRIPT = "resilient_sse.testing.script"
THROUGH = (
    *("resilient_sse", "httpx", "httpx_sse", "anyio", "tenacity"),
    *("asyncio", "contextlib", "trio", "outcome"),
)
"""What a script's error may pass through on its way to the test."""

BACKEND = "anyio_backend"
"""The fixture by which anyio's plugin is told on what to run an async test."""

_failure = pytest.StashKey[BaseException | None]()
"""Why a test, or what it needs, ended early: failed, was skipped, or was expected to fail."""


@pytest.fixture
def sse_script(request: pytest.FixtureRequest) -> Generator[Script]:
    """
    Give a server in memory, to be scripted by the test.

    After the test, an unexpected request that the code under test has swallowed is raised, and so is a step
    that no request came for, unless the test has failed already, or was skipped.
    """
    from resilient_sse.testing.script import Script  # noqa: PLC0415 - see the top of the module

    script = Script(max_requests=MAX_REQUESTS)
    yield script
    failure = request.node.stash.get(_failure, None)
    try:
        script.verify()
    except Exception as error:
        if not _holds(failure, error):  # the report has it already
            raise
    if failure is None:
        script.assert_exhausted()


@pytest.fixture
def sse_recorder() -> Recorder:
    """Give a recorder, to be passed to one stream in `observers=`; a test that fails shows its timeline."""
    from resilient_sse.testing.recorder import Recorder  # noqa: PLC0415 - see the top of the module

    return Recorder()


@pytest.fixture
def sse_server(request: pytest.FixtureRequest) -> Generator[RunningServer]:
    """
    Give a real server on a real socket, which runs in a thread of its own.

    `@pytest.mark.sse_server(heartbeat=1.0)` passes arguments to `ReferenceServer`.
    """
    _need_real_time(request)
    from resilient_sse.testing.server import ReferenceServer, serving  # noqa: PLC0415 - its error names the extra

    with serving(ReferenceServer(**_arguments(request, "sse_server"))) as running:
        yield running


@pytest.fixture
def sse_proxy(request: pytest.FixtureRequest, sse_server: RunningServer) -> Generator[RunningProxy]:
    """
    Give a proxy before `sse_server` that breaks what passes through it; `sse_proxy.url` leads to the server.

    `@pytest.mark.sse_proxy(profile="3g")` passes arguments to `FaultProxy`.
    """
    from resilient_sse.testing.background import proxying  # noqa: PLC0415 - see the top of the module

    with proxying(sse_server.url, **_arguments(request, "sse_proxy")) as running:
        yield running


# --- Virtual time


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks."""
    for line in (
        f"{VIRTUAL_TIME}(*backends): run an async test in virtual time, on all backends or on those named",
        "sse_server(**arguments): what the fixture sse_server passes to ReferenceServer",
        "sse_proxy(**arguments): what the fixture sse_proxy passes to FaultProxy",
    ):
        config.addinivalue_line("markers", line)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: object) -> None:
    """Have anyio's plugin run the marked async tests, whether or not they are also marked `anyio`."""
    if not collector.istestfunction(obj, name):
        return
    inner = getattr(getattr(obj, "hypothesis", None), "inner_test", obj)
    own: list[pytest.Mark] = getattr(obj, "pytestmark", [])
    marked = collector.get_closest_marker(VIRTUAL_TIME) or any(mark.name == VIRTUAL_TIME for mark in own)
    if marked and inspect.iscoroutinefunction(inner):
        pytest.mark.usefixtures(BACKEND)(cast("Callable[..., object]", obj))


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each marked test once on each backend."""
    mark = metafunc.definition.get_closest_marker(VIRTUAL_TIME)
    if mark is not None and BACKEND in metafunc.fixturenames:
        names = mark.args or (("asyncio", "trio") if find_spec("trio") else ("asyncio",))
        # As a mark, for it takes precedence over the parameters of the fixture.  What a name stands for is
        # looked up when the test is run: a wrong one must not stop the collection of the others.
        values: list[tuple[object, dict[str, Any]]] = [(name, {}) for name in names]
        metafunc.definition.add_marker(
            pytest.mark.parametrize(BACKEND, values, ids=[str(name) for name in names], scope="function")
        )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give each run of a marked test a clock of its own: what was parametrised, its other parameters share."""
    mark = item.get_closest_marker(VIRTUAL_TIME)
    if mark is None:
        return
    if mark.kwargs:
        pytest.fail(f"{VIRTUAL_TIME} takes the names of backends, as in ('trio'), no keywords", pytrace=False)
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    if BACKEND in parameters:
        parameters[BACKEND] = _virtual(parameters[BACKEND][0])
    elif mark in item.own_markers and BACKEND not in getattr(item, "fixturenames", ()):
        pytest.fail(
            f"{VIRTUAL_TIME} marks async tests; a sync test calls resilient_sse.testing.run_in_virtual_time()",
            pytrace=False,
        )


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Fail a marked test that another plugin is about to run in real time."""
    function = pyfuncitem.obj
    if pyfuncitem.get_closest_marker(VIRTUAL_TIME) is None:
        return
    if not inspect.iscoroutinefunction(function) and inspect.iscoroutinefunction(inspect.unwrap(function)):
        pytest.fail(
            f"another plugin runs this test in real time, although it is marked {VIRTUAL_TIME}; if that is"
            " pytest-asyncio in auto mode, set asyncio_mode = strict, or make this a sync test that calls"
            " resilient_sse.testing.run_in_virtual_time()",
            pytrace=False,
        )


# --- What a failure shows


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Show what the scripts and recorders of a failed test have seen."""
    whole = item.config.getoption("fulltrace") or item.config.getoption("usepdb")
    excinfo = None if whole else call.excinfo
    if excinfo and any(entry.frame.f_globals.get("__name__") == SCRIPT for entry in excinfo.traceback):
        # What a script raises has come through libraries.
        call.excinfo = excinfo.from_exception(excinfo.value.with_traceback(_without_libraries(excinfo.tb)))
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    if report.when == "teardown":
        return
    item.stash[_failure] = call.excinfo and call.excinfo.value
    if report.failed:
        given: dict[str, Any] = getattr(item, "funcargs", {})
        if "sse_script" in given:
            from resilient_sse.testing.wire import shortened  # noqa: PLC0415 - see the top of the module

            lines = shortened(given["sse_script"].transcript.splitlines()) or ["(nothing happened)"]
            report.sections.append(("SSE conversation", "\n".join(lines)))
        if "sse_recorder" in given and "timeline:" not in report.longreprtext:  # of an assertion of ours
            report.sections.append(("SSE timeline", given["sse_recorder"].timeline))


def _without_libraries(entry: TracebackType | None) -> TracebackType | None:
    if entry is None:
        return None
    rest = _without_libraries(entry.tb_next)
    if str(entry.tb_frame.f_globals.get("__name__")).partition(".")[0] in THROUGH:
        return rest
    return TracebackType(rest, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)


def _holds(failure: BaseException | None, error: BaseException) -> bool:
    """Tell whether a failure is an error, or a group with it, or came from it."""
    if failure is None or failure is error:
        return failure is not None
    if isinstance(failure, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", failure)
        if any(_holds(inner, error) for inner in group.exceptions):
            return True
    return _holds(failure.__cause__ or failure.__context__, error)


# --- The inside


def _virtual(name: str) -> tuple[str, dict[str, Any]]:
    from resilient_sse.testing.clock import virtual_backend  # noqa: PLC0415 - see the top of the module

    try:
        return virtual_backend(cast("BackendName", name))  # which is checked there
    except (ValueError, ModuleNotFoundError) as error:
        pytest.fail(f"{VIRTUAL_TIME}: {error}", pytrace=False)


def _arguments(request: pytest.FixtureRequest, name: str) -> dict[str, Any]:
    item: pytest.Item = request.node
    mark = item.get_closest_marker(name)
    if mark is None:
        return {}
    if mark.args:
        pytest.fail(f"the mark {name} takes keyword arguments only", pytrace=False)
    return dict(mark.kwargs)


def _need_real_time(request: pytest.FixtureRequest) -> None:
    if BACKEND not in request.fixturenames:
        return
    from resilient_sse.testing.clock import VirtualClockLoop  # noqa: PLC0415 - see the top of the module

    backend: str | tuple[str, dict[str, Any]] = request.getfixturevalue(BACKEND)
    options = {} if isinstance(backend, str) else backend[1]
    if options.get("loop_factory") is VirtualClockLoop or "clock" in options:
        pytest.fail(
            "sse_server has real sockets and needs real time, and this test runs in virtual time: use sse_script,"
            " or give the test an anyio_backend without a virtual clock",
            pytrace=False,
        )
