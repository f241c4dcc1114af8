"""Whole runs over real sockets: good ones, and ones in which something is wrong that a gate has to find."""

import json
import re
import signal
import subprocess
import sys
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import anyio
import psutil
import pytest

from resilient_sse.testing.load import (
    ChildError,
    Limits,
    LoadPlan,
    MissingExtraError,
    OpenFilesError,
    Share,
    Streams,
    fleet,
    run,
    run_load,
)
from resilient_sse.testing.load.children import child
from resilient_sse.testing.server import ReferenceServer, serving
from tests.e2e.watching import soon

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(sys.platform != "linux", reason="figures from /proc")]

HERE = Path(__file__).parent
SMALL = LoadPlan(users=20, messages=10, rate=5.0, seed=1, deadline=60)


@pytest.fixture(autouse=True)
def nothing_left():
    """Have no process and no open file left behind."""
    files = psutil.Process().num_fds
    before = files()
    yield
    assert children() == []
    assert files() <= before + 5  # what libraries keep once they were used


def children(parent=None):
    """List the processes whose parent this one is, or another one, and that run a part of the package."""
    found = []
    for process in psutil.Process(parent).children():
        with suppress(psutil.Error):
            if re.search("resilient_sse|sabotaged", " ".join(process.cmdline())):
                found.append(process)
    return found


def broken(result):
    """Name the gates that were not passed."""
    return [gate.name for gate in result.gates if not gate.passed]


def sabotage(monkeypatch, what):
    """Have the server run with something wrong."""
    command = run.server_command
    script = str(HERE / "sabotaged_server.py")
    monkeypatch.setattr(run, "server_command", lambda plan: [script, what, *command(plan)[2:]])


@pytest.mark.slow
async def test_small_run():
    """R168 in small: everything is received once and in order, and every figure is there."""
    told = []
    plan = replace(SMALL, profiles=(Share("slow-3g", 20), Share("4g", 80)))
    result = await run_load(plan, told=told.append)
    assert broken(result) == []
    assert result.streams == Streams(
        started=20, completed=20, failed=0, unfinished=0, failures=(), crashes=0, availability=1.0
    )
    assert (result.delivery.sent, result.delivery.received, result.delivery.completion) == (200, 200, 1.0)
    assert result.times.opening.count == 20
    # Both networks are there: 150 ms of latency and 50 ms.
    assert result.times.opening.maximum - result.times.opening.p50 > 0.05
    assert (result.times.recovery.count, result.connections.resets, result.connections.opened) == (0, 0, 20)
    assert result.connections.most == 20
    assert 0 < result.process.cpu < 2
    assert 0 < result.process.cpu_per_event < 0.05
    assert 20e6 < result.process.resident_before <= result.process.resident_peak < 1e9
    assert result.process.growth is None
    assert result.delivery.per_second == pytest.approx(100, rel=0.5)
    assert result.times.handling.count > 5
    assert (told[-1].users, told[-1].expected) == (20, 200)


@pytest.mark.proof
async def test_resets():
    """R86: connections that are reset are counted, timed and mended; nothing is lost and nothing comes twice."""
    result = await run_load(replace(SMALL, users=10, messages=30, drops=600))
    assert result.connections.resets > 10
    assert result.times.recovery.count > 10
    assert result.connections.opened == 10 + result.times.recovery.count
    assert 0.9 <= result.times.recovery.p50 < 4
    assert result.times.reopening.p50 <= result.times.recovery.p50 <= result.times.silence.p50
    assert result.streams.availability < 0.99
    assert result.delivery.completion == 1.0
    assert result.delivery.gaps == 0


@pytest.mark.slow
async def test_server_that_loses_an_event(monkeypatch):
    """R5, R16: one message that a server never sends is missed by client and figures; here without a network."""
    sabotage(monkeypatch, "lose")
    result = await run_load(replace(SMALL, users=3, proxy=False))
    assert broken(result) == ["completion", "gaps"]
    assert (result.delivery.sent, result.delivery.received, result.delivery.gaps) == (30, 27, 3)


@pytest.mark.proof
async def test_network_that_stays_away(monkeypatch):
    """R86-R88, R170: eight seconds without a network are too long for reconnects and for availability."""
    command = run.network_command
    away = ("--at", "3=refuse", "--at", "3=reset", "--at", "11=accept")
    monkeypatch.setattr(run, "network_command", lambda *given: [*command(*given), *away])
    plan = replace(
        SMALL,
        users=5,
        messages=60,
        profiles=(Share("clean"),),
        limits=Limits(availability=0.999),
    )
    result = await run_load(plan)
    assert broken(result) == ["availability", "reconnect p95", "reconnect p99", "reconnect maximum"]
    assert result.times.recovery.count == 5
    assert result.times.recovery.p50 > 8
    assert result.delivery.completion == 1.0


@pytest.mark.proof
@pytest.mark.ci
async def test_server_that_dies(monkeypatch):
    """A server that dies ends the run at once, by an error that names it, and leaves nothing behind."""
    sabotage(monkeypatch, "die")
    with anyio.fail_after(40), pytest.raises(ChildError, match="the server ended too soon, with code 9"):
        await run_load(replace(SMALL, messages=1000))


@pytest.mark.proof
async def test_server_without_end(monkeypatch):
    """A run is bounded by itself: at its deadline it ends, and fails for the streams that did not."""
    sabotage(monkeypatch, "endless")
    result = await run_load(replace(SMALL, users=3, messages=3, deadline=6))
    assert broken(result) == ["streams that ended well"]
    assert (result.streams.completed, result.streams.unfinished) == (0, 3)
    assert 5 < result.seconds < 30


@pytest.mark.proof
@pytest.mark.ci
async def test_cancellation():
    """A run that is cancelled leaves nothing behind (see the fixture)."""
    with anyio.move_on_after(2.5):
        await run_load(replace(SMALL, messages=1000))


ECHO = """
import json, os, sys
print(json.dumps({"pid": os.getpid()}), flush=True)
for line in sys.stdin:
    print(line, end="", flush=True)
"""


@pytest.mark.parametrize("how", ["the end", "an error", "cancellation"])
async def test_a_process_of_a_block(how):
    """It says hello and obeys, and is gone after the block, however that ends."""
    with pytest.raises(ExceptionGroup) if how == "an error" else nullcontext(), anyio.CancelScope() as scope:
        async with child("echo", ["-c", ECHO]) as echo, anyio.create_task_group() as tasks:
            pid = echo.told["pid"]
            assert psutil.pid_exists(pid)
            tasks.start_soon(echo.watch)
            await echo.send('{"n": 1}')
            while "pid" in echo.told:  # noqa: ASYNC110 - another process answers
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
            if how == "an error":
                raise RuntimeError
            if how == "cancellation":
                scope.cancel()
    assert echo.told == {"n": 1}
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    "program,expected",
    [
        ("raise SystemExit('port 80 is taken')", "the server did not start: port 80 is taken"),
        ("print('ready', flush=True)", "the server did not start"),
        (
            "import os; print('{\"n\":1}', flush=True); os.write(2, b'x' * 99999 + b'\\nno memory'); os._exit(7)",
            "the server ended too soon, with code 7: no memory",
        ),
    ],
)
async def test_a_process_that_fails(program, expected):
    """One that does not start, or dies, says why, in its own last words."""
    with pytest.raises(ChildError) as caught:
        async with child("server", ["-c", program]) as server:
            await server.watch()
    assert str(caught.value) == expected


async def test_a_stubborn_process(monkeypatch):
    """One that does not stop when asked to is killed."""
    monkeypatch.setattr("resilient_sse.testing.load.children._STOP_SECONDS", 0.3)
    async with child("mule", ["-c", ECHO + "\nimport time\ntime.sleep(600)"]) as mule:
        pid = mule.told["pid"]
    assert not psutil.pid_exists(pid)


async def test_what_cannot_be_done_here(monkeypatch):
    """Open files, networks and packages are looked at before anything is started; a target needs fewer of them."""
    asked = []

    def refuse(connections):
        asked.append(connections)
        raise OpenFilesError("raise it with 'ulimit -n 9'")

    target = replace(SMALL, proxy=False, target="http://host/")
    monkeypatch.setattr(run, "allow_open_files", refuse)
    for plan in (SMALL, target):
        with pytest.raises(OpenFilesError, match="ulimit -n"):
            await run_load(plan)
    assert asked == [40, 20]
    with pytest.raises(ValueError, match="slow-3g"):
        await run_load(replace(SMALL, profiles=(Share("3.5g"),)))
    for name in ("psutil", "uvicorn"):
        monkeypatch.setitem(sys.modules, name, None)
    for plan, names in ((SMALL, "uvicorn, psutil"), (target, "psutil")):
        with pytest.raises(MissingExtraError, match=f"the load run needs {names};"):
            await run_load(plan)


ALONE = Limits(cpu=None)
"""The server runs in this process, too."""


@pytest.mark.parametrize("amount", [{"duration": 2.0}, {"messages": 5}], ids=min)
async def test_own_server(amount, anyio_backend_name):
    """A server of the user's own, with other ids and no end: for as long as wanted, or for so many messages."""
    with serving(ReferenceServer(first_id=500)) as server:
        url = server.url + "?user_id=u{user}"
        plan = LoadPlan(users=3, proxy=False, target=url, deadline=30, limits=Limits(cpu=None), **amount)

        async def publish():
            while True:
                for user in range(1, 4):  # each has an address of its own
                    await anyio.to_thread.run_sync(lambda user=user: server.publish("x", user_id=f"u{user}"))
                await anyio.sleep(0.1)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(publish)
            result = await run_load(plan)
            tasks.cancel_scope.cancel()
    assert broken(result) == []
    assert (result.connections.mean, result.machine.backend) == (None, anyio_backend_name)
    assert result.setup.seed >= 0  # drawn
    if plan.messages:
        assert (result.streams.completed, result.delivery.received, result.delivery.completion) == (
            3,
            15,
            1.0,
        )
    else:
        assert (result.delivery.sent, result.delivery.completion) == (None, None)
        assert result.delivery.received > 15
        assert 2 <= result.seconds < 20


def test_crash_is_counted(monkeypatch):
    """A bug in the client does not end the run; it is counted, told, and fails it."""

    class Broken(fleet.ResilientStream):
        async def __anext__(self):
            raise KeyError("bug")

    monkeypatch.setattr(fleet, "ResilientStream", Broken)
    result = anyio.run(run_load, replace(SMALL, users=2, messages=2))
    assert (result.streams.crashes, result.streams.failed) == (2, 2)
    assert result.streams.failures == ("KeyError: 'bug'", "KeyError: 'bug'")
    assert {"crashes", "streams that ended well", "completion"} <= set(broken(result))


def gone(process):
    """Tell whether a process is gone, or only waits for its parent to notice."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("number,code", [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
@pytest.mark.slow
def test_interrupted_command(number, code):
    """Ctrl-C ends a run with 130; not even a run that is killed leaves its server or its network behind."""
    command = [sys.executable, "-m", "resilient_sse", "load", "--users", "3", "--duration", "60"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as running:
        running.stderr.readline()  # the first line of progress: everything is running
        left = children(running.pid)
        assert len(left) == 2
        running.send_signal(number)
        said = running.stderr.read()
        assert running.wait(30) == code
    assert b"Traceback" not in said
    assert soon(lambda: all(map(gone, left)), within=30)


def run_preset(*arguments, timeout):
    """Run the command in a process of its own, so that what is measured is the client, not pytest."""
    command = [sys.executable, "-W", "error", "-m", "resilient_sse", "load", "-q", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.stderr == ""
    result = json.loads(done.stdout, object_hook=lambda found: SimpleNamespace(**found))
    assert (done.returncode == 0) is result.passed
    return result


@pytest.mark.proof
@pytest.mark.timed
@pytest.mark.timeout(180)
def test_ci_preset():
    """R168, R187: 100 users, 50 messages each on 4G: 99.5 % complete, p95 below 4.2 s, within 120 s."""
    result = run_preset("--preset", "ci", timeout=150)
    # Five milliseconds in the client are a figure for a machine that has nothing else to do.
    assert set(broken(result)) <= {"bytes to event p99"}
    assert result.times.recovery.count >= 200
    assert result.times.recovery.mean <= 2.5
    assert {gate.name for gate in result.gates} >= {
        "completion",
        "reconnect p95",
        "reconnect maximum",
        "crashes",
    }


@pytest.mark.proof
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "seconds, more",
    [pytest.param(30, ["--duration", "30", "--drops", "0"], marks=pytest.mark.timed), (120, [])],
)
def test_a_thousand_streams(seconds, more):
    """R169-R173: a thousand streams on 3G and 4G, for half a minute or two; the long forms are run by hand."""
    result = run_preset("--preset", "thousand", *more, timeout=290)
    assert broken(result) == []
    assert result.streams.completed == 1000
    assert result.delivery.received == 1000 * seconds
    assert result.connections.mean == pytest.approx(1000, rel=0.01)
    assert result.process.resident_peak < 150e6
