"""The command `load`: its arguments, its plan, its output and its exit codes."""

import os
from dataclasses import replace

import pytest

from resilient_sse.cli.commands import group
from resilient_sse.testing import load
from resilient_sse.testing.load import (
    PRESETS,
    ChildError,
    LoadPlan,
    OpenFilesError,
    Progress,
    Share,
)
from resilient_sse.testing.load.result import judge
from tests.load.test_result import GOOD, spoilt


def judged(result):
    """Give a result with its gates."""
    return replace(result, gates=judge(result))


PROGRESS = Progress(
    seconds=12.0,
    users=100,
    open=97,
    reconnecting=3,
    ended=2,
    received=1200,
    expected=5000,
    cpu=0.125,
    resident=50 * 1024 * 1024,
)


@pytest.fixture
def outcome(monkeypatch):
    """Have a run come out as wanted, with a result or an error; return the plans that were to be carried out."""
    monkeypatch.setenv("no_proxy", "")
    plans = []

    def come_out(value, *told):
        async def run(plan, *, told=None, reports=told):
            plans.append(plan)
            for report in reports if told else ():
                told(report)
            if isinstance(value, BaseException):
                raise value
            return value

        monkeypatch.setattr(load, "run_load", run)
        return plans

    return come_out


def test_presets(run):
    """Help names every preset and what it is; each can be chosen."""
    shown = run("load", "--help").out
    (choice,) = [p for p in group.get_command(None, "load").params if p.name == "preset"]
    assert [*choice.type.choices] == [*PRESETS]
    for name, plan in PRESETS.items():
        line = next(line for line in shown.splitlines() if line.strip().startswith(f"{name} "))
        assert f"{plan.users:,}" in line or "the same" in line
    assert "360 resets" in shown
    assert PRESETS["ci"].drops == 360


PLAN, CI = LoadPlan(messages=50), PRESETS["ci"]
PLANS = {
    "": PLAN,
    "--users 7 --messages 3 --rate 2": LoadPlan(users=7, messages=3, rate=2.0),
    "--duration 9": LoadPlan(duration=9.0),
    "--profiles slow-3g:20,4g:80 --drops 60 --seed 4 --ramp 0": replace(
        PLAN, profiles=(Share("slow-3g", 20), Share("4g", 80)), drops=60.0, seed=4, ramp=0.0
    ),
    "--no-proxy --dedup-window 9": replace(PLAN, proxy=False, dedup_window=9),
    "--target http://127.0.0.1:1/{user} --no-proxy": replace(
        PLAN, proxy=False, target="http://127.0.0.1:1/{user}"
    ),
    "--preset ci": CI,
    "--preset ci --users 5 --duration 30": replace(CI, users=5, messages=None, duration=30.0, deadline=None),
    "--preset ci --no-proxy": replace(
        CI, proxy=False, drops=0.0, deadline=None, limits=replace(CI.limits, reconnects=None)
    ),
}


@pytest.mark.parametrize("given", PLANS)
def test_plans(run, outcome, given):
    """R168, R169: arguments become a plan; what is given replaces a part of a preset, and its deadline goes."""
    plans = outcome(judged(GOOD))
    assert run("load", "-q", *given.split()).code == 0
    assert plans == [PLANS[given]]


def test_passed(run, outcome):
    """A run that passed ends with 0 and says so; progress is a line every ten seconds."""
    outcome(judged(GOOD), *(replace(PROGRESS, seconds=float(second)) for second in range(25)))
    done = run("load")
    assert done.code == 0
    assert "gates passed." in done.out
    assert [line.split()[0] for line in done.err.splitlines()] == ["0", "10", "20"]
    assert done.err.splitlines()[0].endswith(
        "97/100 open, 3 reconnecting, 2 ended, 1200/5000 messages, CPU 12%, 50 MiB"
    )
    bare = replace(PROGRESS, reconnecting=0, ended=0, expected=None, cpu=None)
    outcome(judged(GOOD), bare)
    assert run("load").err.endswith("  97/100 open, 1200 messages, 50 MiB\n")


def test_not_passed(run, outcome):
    """A run that did not ends with 1 and names the gates."""
    outcome(judged(spoilt(delivery__gaps=1, streams__completed=99, streams__failures=("Oops: \x1b[2J",))))
    done = run("load", "-q")
    assert (done.code, done.err) == (1, "")
    assert "NOT passed: streams that ended well, gaps" in done.out
    assert "failed: Oops: \\x1b[2J" in done.out


def test_json(run, outcome, tmp_path):
    """The result goes to standard output and into a file as the same JSON."""
    outcome(judged(GOOD))
    file = tmp_path / "result.json"
    shown = run("load", "--json", "-q", "--output", str(file)).out
    assert shown == file.read_text() == judged(GOOD).to_json() + "\n"


def test_a_full_disk(run, outcome, monkeypatch):
    """Bad input: a file that cannot be written takes no result away that took half an hour."""
    monkeypatch.setattr("resilient_sse.cli.silence", lambda _stream: None)  # it would silence this test
    outcome(judged(GOOD))
    done = run("load", "--json", "-q", "--output", "/dev/full")
    assert (done.code, done.out) == (4, judged(GOOD).to_json() + "\n")
    assert "No space left" in done.err


@pytest.mark.parametrize(
    "error,code,text",
    [
        (OpenFilesError("raise it with 'ulimit -n 564'"), 2, "raise it with 'ulimit -n 564'"),
        (ChildError("the server ended too soon, with code 1"), 1, "the server ended too soon, with code 1"),
    ],
)
def test_errors(run, outcome, error, code, text):
    """What cannot be done here is told in one line."""
    outcome(error)
    done = run("load", "-q")
    assert done.code == code
    assert text in done.err
    assert done.err.count("\n") == 1


def test_a_server_of_ones_own(run, outcome):
    """What is going to be done to it is said before, unless -q is given; proxies of the environment stay."""
    outcome(judged(GOOD))
    own = ["load", "--no-proxy", "--target", "http://127.0.0.1:1/", "--users", "3", "--duration", "9"]
    assert "Opening 3 streams on http://127.0.0.1:1/ over 0.015 s, for 9 s" in run(*own).err
    assert run(*own, "-q").err == ""
    assert os.environ["no_proxy"] == ""
    run("load", "-q")
    assert os.environ["no_proxy"] == "*"


def test_table(run, outcome):
    """Every figure that a reader looks for is there."""
    outcome(judged(GOOD))
    shown = run("load", "-q").out
    for text in (
        "100 streams, 50 messages each at 1/s, on 4g, 300 resets a minute, seed 1",
        "Python 3.11.9 on Linux x86_64, 2 cores, load 0.5, asyncio, 60.0 s",
        "5000 of 5000, 100.000 %",
        "99.950 %",
        "10.0 % steady, 20.0 % overall",
        "200 us",
        "57.2 MiB",
        "0.10 % over 600 s",
    ):
        assert text in shown
    row = next(line for line in shown.splitlines() if line.startswith("reconnect:"))
    assert row.split()[-6:] == ["240", "1.100", "1.100", "1.200", "1.300", "1.400"]


def test_table_of_little(run, outcome):
    """What is not known is a dash."""
    little = {"delivery__sent": None, "delivery__completion": None, "streams__availability": None}
    little |= {"process__growth": None, "process__cpu": None}
    outcome(judged(spoilt(**little, setup=LoadPlan(proxy=False, target="http://host/\x07"))))
    shown = run("load", "-q").out
    assert "5000, -" in shown
    assert "too short a run to tell" in shown
    assert "http://host/\\x07" in shown
