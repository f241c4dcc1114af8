"""`resilient-sse report`: what it plays, what it writes, and how it ends (R4, R213, R217, P32)."""

import json
import re
import signal
import subprocess
import sys

import jsonschema
import pytest

from resilient_sse import ResilientStream
from resilient_sse.cli.report import SCENARIO_NAMES
from resilient_sse.testing.report import report_schema
from resilient_sse.testing.scenarios import SCENARIOS, Follower
from tests.streaming.recount import assert_recounted


def test_the_names_are_those_of_the_scenarios():
    """They are written down twice, so that --help imports nothing."""
    assert tuple(SCENARIOS) == SCENARIO_NAMES


@pytest.mark.proof
@pytest.mark.ci
def test_all_six_in_virtual_time(run, tmp_path):
    """The answer is YES, exit code 0, and the three files are there and agree (R213, R216, R217)."""
    done = run("report", "--form", "virtual", "--seed", "1", "--output", str(tmp_path / "new" / "out"))
    assert done.code == 0
    assert "production readiness: YES" in done.out
    assert len(done.err.splitlines()) == 6
    out = tmp_path / "new" / "out"
    document = json.loads((out / "report.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(report_schema()).validate(document)
    assert document["production_readiness"] == "YES"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "production readiness: YES" in page
    log = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert_recounted(document, [json.loads(line) for line in log])


def test_one_scenario_alone(run):
    """What was played was passed: exit code 0; ready for production it is not said to be (R4)."""
    done = run("report", "--form", "virtual", "--scenario", "slow-3g", "handoff", "--plain")
    assert done.code == 0
    assert "production readiness: NO" in done.out
    assert "scenario_2_stall_detection: not run" in done.out


@pytest.mark.proof
@pytest.mark.ci
def test_a_broken_promise(run, monkeypatch):
    """A client that says something else: NO, the gate that failed, and exit code 1 (R217)."""
    real = ResilientStream
    monkeypatch.setattr(
        sys.modules[Follower.__module__],
        "ResilientStream",
        lambda url, **given: real(url, **given, messages={"lost": "oh"}),
    )
    done = run("report", "--form", "virtual", "--scenario", "user-experience", "--plain")
    assert done.code == 1
    assert "texts_wrong" in done.out
    assert "FAIL" in done.out


def test_json_alone(run):
    """Standard output is the report and nothing else."""
    done = run("report", "--form", "virtual", "--scenario", "handoff", "--json")
    document = json.loads(done.out)
    assert document["scenarios"]["scenario_4_network_handoff"]["received_events"] == 50
    assert document["readiness_reasons"]


def test_single_files(run, tmp_path):
    """--html and --log name their files."""
    page, log = tmp_path / "p.html", tmp_path / "l.jsonl"
    done = run("report", "--form", "virtual", "--scenario", "handoff", "--html", str(page), "--log", str(log))
    assert done.code == 0
    assert "<svg" in page.read_text(encoding="utf-8")
    assert json.loads(log.read_text(encoding="utf-8").splitlines()[0])["kind"] == "start"


def test_files_that_cannot_be(run, tmp_path):
    """Exit code 4, before anything is played."""
    done = run("report", "--form", "virtual", "--html", str(tmp_path / "none" / "p.html"))
    assert done.code == 4
    assert "No such file" in done.err


@pytest.mark.parametrize("name", ["report.json", "report.html", "log.jsonl"])
def test_a_directory_in_the_place_of_a_file(run, tmp_path, monkeypatch, name):
    """Exit code 4, before anything is played, whichever option names it."""
    monkeypatch.setattr("resilient_sse.testing.scenarios.play_all", lambda *_, **__: pytest.fail("it played"))
    (tmp_path / name).mkdir()
    options = {"report.html": "--html", "log.jsonl": "--log"}
    for arguments in (["--output", tmp_path], [options.get(name, "--log"), tmp_path / name]):
        done = run("report", "--form", "virtual", *map(str, arguments))
        assert (done.code, done.out) == (4, "")
        assert f"{tmp_path / name}: Is a directory" in done.err


@pytest.mark.e2e
@pytest.mark.slow
def test_on_a_terminal(screen):
    """Tables have frames and colours, and the progress line is taken away."""
    shown = screen("report", "--form", "virtual", "--scenario", "slow-3g")
    assert shown.end(30) == (0, True)
    assert {"──", "runs", "slowdown"} <= {*re.findall(r"──|runs|slowdown", shown.text)}
    assert b"\x1b[1m" in shown.written


@pytest.mark.e2e
@pytest.mark.proof
def test_real_sockets_from_the_command_line(command, tmp_path):
    """The quick scenarios, over the reference server and the proxy, as a process that leaves nothing running."""
    arguments = ["report", "--form", "real", "--scenario", "slow-3g", "handoff", "packet-loss"]
    done = subprocess.run(
        [*command, *arguments, "--output", tmp_path], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert document["scenarios"]["scenario_4_network_handoff"]["received_events"] == 50
    assert document["scenarios"]["scenario_3_packet_loss"]["completion_after_replay_percent"] == 100.0


@pytest.mark.e2e
@pytest.mark.parametrize(
    "number, code, ignoring", [(signal.SIGINT, 130, False), (signal.SIGTERM, 143, True)], ids=["INT", "TERM"]
)
@pytest.mark.slow
def test_the_command_ends_when_told(command, number, code, ignoring):
    """Bad input: a report that is told to end does so without a word, whoever tells it."""
    first = "trap '' INT;" if ignoring else ""  # as a shell does for what it starts with an ampersand
    arguments = ["report", "--form", "real", "--scenario", "slow-3g", "stall", "--plain"]
    process = subprocess.Popen(
        ["/bin/sh", "-c", f'{first} exec "$@"', "sh", *command, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    said = process.stderr.readline()  # the other one goes on for long
    process.send_signal(number)
    _, rest = process.communicate(timeout=30)
    assert b"slow_3g/real" in said
    assert (process.returncode, rest) == (code, b"")
