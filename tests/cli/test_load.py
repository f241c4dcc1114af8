"""The command `load`: its arguments, its plan, its output and its exit codes."""

import io
import json
import os
import re
import sys
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path

import pytest

from resilient_sse.cli import main
from resilient_sse.cli.arguments import parse
from resilient_sse.cli.load import arguments, command
from resilient_sse.cli.load.arguments import LoadOptions
from resilient_sse.cli.load.command import plan_of
from resilient_sse.cli.load.progress import sentence, showing
from resilient_sse.cli.load.table import described
from resilient_sse.testing.load import (
    PRESETS,
    ChildError,
    LoadPlan,
    LoadResult,
    OpenFilesError,
    Progress,
    Share,
)
from resilient_sse.testing.load.gates import judge
from tests.load.specimens import GOOD, spoilt

PLAN = LoadPlan(users=100, messages=50)


def judged(result):
    """Give a result with its gates."""
    return replace(result, gates=judge(PLAN, result))


def test_presets_are_known():
    """The names are written down twice, because asking for help imports nothing but the arguments."""
    assert set(arguments._PRESETS) == set(PRESETS)


def test_help(capsys):
    """Help names every preset and what it is."""
    assert main(["load", "--help"]) == 0
    shown = capsys.readouterr().out
    for name, plan in PRESETS.items():
        line = next(line for line in shown.splitlines() if line.strip().startswith(f"{name} "))
        assert f"{plan.users:,}" in line or "the same" in line
    assert "360 resets" in shown
    assert PRESETS["ci"].drops == 360


@pytest.mark.parametrize(
    "given,expected",
    [
        ([], LoadPlan(messages=50)),
        (["--users", "7", "--messages", "3", "--rate", "2"], LoadPlan(users=7, messages=3, rate=2.0)),
        (["--duration", "9"], LoadPlan(duration=9.0)),
        (
            ["--profiles", "slow-3g:20,4g:80", "--drops", "60", "--seed", "4", "--ramp", "0"],
            LoadPlan(
                messages=50,
                profiles=(Share("slow-3g", 20), Share("4g", 80)),
                drops=60.0,
                seed=4,
                ramp=0.0,
            ),
        ),
        (["--no-proxy", "--dedup-window", "9"], LoadPlan(messages=50, proxy=False, dedup_window=9)),
        (["--preset", "ci"], PRESETS["ci"]),
        (["--preset", "soak"], PRESETS["soak"]),
    ],
)
def test_plans(given, expected):
    """R168, R169: arguments become a plan."""
    options = parse(["load", *given])
    assert isinstance(options, LoadOptions)
    assert plan_of(options) == expected


def test_preset_with_changes():
    """What is given replaces a part of a preset; its deadline, which was made for it as it is, goes."""
    plan = plan_of(LoadOptions(preset="ci", users=5, duration=3.0))
    assert (plan.users, plan.messages, plan.duration, plan.drops) == (5, None, 3.0, 360)
    assert plan.deadline is None
    assert plan.limits == PRESETS["ci"].limits
    calm = plan_of(LoadOptions(preset="ci", proxy=False))
    assert (calm.proxy, calm.drops, calm.limits.reconnects) == (False, 0, None)
    own = plan_of(LoadOptions(target="http://127.0.0.1:1/{user}", proxy=False))
    assert own.target == "http://127.0.0.1:1/{user}"


@pytest.mark.parametrize(
    "given,text",
    [
        (["--users", "0"], "'0' is not a whole number above 0"),
        (["--users", "x"], "'x' is not a whole number"),
        (["--users", "70000"], "--users must be from 1 to 60000"),
        (["--messages", "5", "--duration", "5"], "not allowed with argument"),
        (["--rate", "0"], "'0' is not a number above 0"),
        (["--rate", "nan"], "'nan' is not a number above 0"),
        (["--drops", "-1"], "'-1' is not a number, 0 or more"),
        (["--duration", "1e999"], "is not a number above 0"),
        (["--profiles", "5g6"], "clean"),
        (["--profiles", "4g:0"], "with a share above 0"),
        (["--no-proxy", "--drops", "5"], "--no-proxy leaves out"),
        (["--no-proxy", "--profiles", "4g"], "--no-proxy leaves out"),
        (["--target", "http://host/"], "say --no-proxy, too"),
        (["--target", "host", "--no-proxy"], "must be an http or https URL"),
        (["--output", "/nowhere/at/all.json"], "there is no directory /nowhere/at"),
        (["--output", "/"], "--output: / is a directory; name a file in it"),
        (["--preset", "none"], "invalid choice"),
    ],
)
def test_wrong_arguments(given, text, capsys):
    """What makes no sense is refused with one line that names the fix, before anything is started."""
    assert main(["load", *given]) == 2
    shown = capsys.readouterr()
    assert text in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.fixture
def outcome(monkeypatch):
    """Have a run come out as wanted: with a result, or with an error."""
    monkeypatch.setenv("no_proxy", "")

    def come_out(value):
        async def run(plan, *, told=None):
            if told is not None:
                told(Progress(
                    seconds=0.0, users=1, opened=0, open=0, reconnecting=0, ended=0, received=0, expected=1,
                    cpu=None, resident=None,
                ))  # fmt: skip
            if isinstance(value, BaseException):
                raise value
            return value

        monkeypatch.setattr(command, "run_plan", run)

    return come_out


def test_passed(outcome, capsys):
    """A run that passed ends with 0 and says so."""
    outcome(judged(GOOD))
    assert main(["load"]) == 0
    shown = capsys.readouterr()
    assert "gates passed." in shown.out
    assert "0/1 open" in shown.err


def test_not_passed(outcome, capsys):
    """A run that did not ends with 1 and names the gates."""
    outcome(judged(spoilt(delivery__gaps=1, streams__completed=99, streams__failures=("Oops: \x1b[2J",))))
    assert main(["load", "-q"]) == 1
    shown = capsys.readouterr()
    assert "NOT passed: streams that ended well, gaps" in shown.out
    assert "failed: Oops: \\x1b[2J" in shown.out
    assert shown.err == ""


def test_json(outcome, capsys, tmp_path):
    """The result goes to standard output or into a file as JSON, which reads back the same."""
    outcome(judged(GOOD))
    file = tmp_path / "result.json"
    assert main(["load", "--json", "-q", "--output", str(file)]) == 0
    shown = capsys.readouterr().out
    assert LoadResult.from_json(shown) == LoadResult.from_json(file.read_bytes()) == judged(GOOD)
    assert json.loads(shown)["passed"] is True


@pytest.mark.parametrize(
    "error,code,text",
    [
        (OpenFilesError(564, 200), 2, "raise it with 'ulimit -n 564'"),
        (ChildError("server", "ended too soon, with code 1"), 1, "the server ended too soon, with code 1"),
    ],
)
def test_errors(error, code, text, outcome, capsys):
    """What cannot be done here is told in one line."""
    outcome(error)
    assert main(["load", "-q"]) == code
    assert text in capsys.readouterr().err


def test_missing_extra(monkeypatch, capsys):
    """Without the server's packages, the command says how to get them, and starts nothing."""
    monkeypatch.setattr("resilient_sse.testing.extra.find_spec", lambda _name: None)
    assert main(["load", "-q"]) == 2
    assert "pip install 'resilient-sse[testing]'" in capsys.readouterr().err


def test_proxies_of_the_environment(outcome):
    """They have no part in a run on this machine, and keep theirs in one on a server of the user's own."""
    outcome(judged(GOOD))
    main(["load", "-q", "--no-proxy", "--target", "http://127.0.0.1:1/"])
    assert os.environ["no_proxy"] == ""
    main(["load", "-q"])
    assert os.environ["no_proxy"] == "*"


def test_target_is_announced(outcome, capsys):
    """What is going to be done to somebody's server is said before it is done."""
    outcome(judged(GOOD))
    main(["load", "-q", "--no-proxy", "--target", "http://127.0.0.1:1/", "--users", "3", "--duration", "9"])
    assert "Opening 3 streams on http://127.0.0.1:1/ over 0.015 s, for 9 s" in capsys.readouterr().err


def progress(**changes):
    """Make a progress."""
    facts = {
        "seconds": 12.0,
        "users": 100,
        "opened": 100,
        "open": 97,
        "reconnecting": 3,
        "ended": 2,
        "received": 1200,
        "expected": 5000,
        "cpu": 0.125,
        "resident": 50 * 1024 * 1024,
    }
    return Progress(**{**facts, **changes})


def test_progress_sentence():
    """The state of a run in one line; what is not known is left out."""
    assert sentence(progress()) == (
        "97/100 open, 3 reconnecting, 2 ended, 1200/5000 messages, CPU 12%, 50 MiB"
    )
    bare = progress(reconnecting=0, ended=0, expected=None, cpu=None, resident=None)
    assert sentence(bare) == "97/100 open, 1200 messages"


def test_progress_without_a_terminal(capsys):
    """A line each ten seconds, on standard error."""
    with showing(quiet=False) as told:
        for second in range(25):
            told(progress(seconds=float(second)))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["0", "10", "20"]
    with showing(quiet=True) as told:
        assert told is None


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self):
        return True


def test_progress_bar(monkeypatch):
    """A bar on a terminal, with the same sentence."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    screen = Terminal()
    with redirect_stderr(screen):
        assert sys.stderr is screen
        with showing(quiet=False) as told:
            told(progress())
    assert "97/100 open" in screen.getvalue()
    assert "\x1b[" in screen.getvalue()


def test_table():
    """Every figure that a reader looks for is there."""
    shown = described(judged(GOOD))
    for text in (
        "100 streams, 50 messages each at 1/s, on 4g:1, 300 resets a minute, seed 1",
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


def test_table_of_little():
    """What is not known is a dash."""
    empty = spoilt(
        delivery__sent=None,
        delivery__completion=None,
        streams__availability=None,
        process__growth=None,
        process__cpu=None,
        setup__target="http://host/\x07",
    )
    shown = described(empty)
    assert "5000, -" in shown
    assert "too short a run to tell" in shown
    assert "http://host/\\x07" in shown


def test_no_module_is_imported_for_help():
    """Asking for help loads neither the client nor rich."""
    text = Path(arguments.__file__).read_text(encoding="utf-8")
    imported = [line for line in text.splitlines() if re.match(r"\s*(from|import) resilient_sse", line)]
    assert imported == ["from resilient_sse.cli.numbers import above_zero, count, number"]
