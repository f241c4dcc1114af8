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
    out = tmp_path / "new" / "out"
    *played, written = done.err.splitlines()
    assert (len(played), written) == (6, f"written to {out}: report.json, report.html, log.jsonl")
    document = json.loads((out / "report.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(report_schema()).validate(document)
    assert document["production_readiness"] == "YES"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "production readiness: YES" in page
    log = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert_recounted(document, [json.loads(line) for line in log])


def test_some_scenarios(run):
    """What was played was passed: exit code 0; ready for production it is not said to be (R4), nor in JSON."""
    done = run("report", "--form", "virtual", "slow-3g", "handoff", "--plain")
    assert done.code == 0
    assert "production readiness: NO" in done.out
    assert "stall: not run" in done.out
    document = json.loads(run("report", "--form", "virtual", "handoff", "--json").out)
    assert document["scenarios"]["scenario_4_network_handoff"]["received_events"] == 50
    assert document["production_readiness"] == "NO"


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
    done = run("report", "--form", "virtual", "user-experience", "--plain")
    assert done.code == 1
    assert "texts_wrong" in done.out
    assert "FAIL" in done.out


@pytest.mark.parametrize(
    "taken, is_file", [("", True), ("report.json", False), ("report.html", False), ("log.jsonl", False)]
)
def test_files_that_cannot_be_written(run, tmp_path, monkeypatch, taken, is_file):
    """Exit code 4, before anything is played: a file for the directory, or a directory for a file."""
    monkeypatch.setattr("resilient_sse.testing.scenarios.play_all", lambda *_, **__: pytest.fail("it played"))
    path = tmp_path / "out" / taken
    if is_file:
        path.touch()
    else:
        path.mkdir(parents=True)
    done = run("report", "--form", "virtual", "--output", str(tmp_path / "out"))
    assert (done.code, done.out) == (4, "")
    assert re.search(rf"{path}: (File exists|Is a directory)\n$", done.err)


def test_a_full_disk(run, tmp_path, monkeypatch):
    """Bad input: the disk is full once all was played, and the report is printed all the same."""
    monkeypatch.setattr("resilient_sse.cli.silence", lambda _stream: None)  # it would silence this test
    (tmp_path / "report.json").symlink_to("/dev/full")
    done = run("report", "--form", "virtual", "handoff", "--json", "--output", str(tmp_path))
    assert (done.code, json.loads(done.out)["tests_failed"]) == (4, 0)
    assert "No space left" in done.err


@pytest.mark.e2e
@pytest.mark.slow
def test_on_a_terminal(screen):
    """Tables have frames and colours."""
    shown = screen("report", "--form", "virtual", "slow-3g")
    assert shown.end(30) == (0, True)
    assert {"──", "slow-3g/virtual", "slowdown"} <= {*re.findall(r"──|slow-3g/virtual|slowdown", shown.text)}
    assert b"\x1b[1m" in shown.written


@pytest.mark.e2e
@pytest.mark.proof
def test_real_sockets_from_the_command_line(command, tmp_path):
    """The quick scenarios, over the reference server and the proxy, as a process that leaves nothing running."""
    arguments = ["report", "--form", "real", "slow-3g", "handoff", "packet-loss"]
    done = subprocess.run(
        [*command, *arguments, "--output", tmp_path], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert document["scenarios"]["scenario_4_network_handoff"]["received_events"] == 50
    assert document["scenarios"]["scenario_3_packet_loss"]["completion_after_replay_percent"] == 100.0


@pytest.mark.e2e
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.slow
def test_the_command_ends_when_told(command, number, code):
    """Bad input: a report that is told to end does so without a word, also if a shell had it ignore Ctrl-C."""
    first = "trap '' INT;" if number is signal.SIGTERM else ""  # as for what is started with an ampersand
    arguments = ["report", "--form", "real", "slow-3g", "stall", "--plain"]
    process = subprocess.Popen(
        ["/bin/sh", "-c", f'{first} exec "$@"', "sh", *command, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    said = process.stderr.readline()  # the other one goes on for long
    process.send_signal(number)
    _, rest = process.communicate(timeout=30)
    assert b"slow-3g/real" in said
    assert (process.returncode, rest) == (code, b"")
