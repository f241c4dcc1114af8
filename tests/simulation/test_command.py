"""`python -m resilient_sse.testing.simulation`, called as a function."""

import subprocess
import sys

import pytest

from resilient_sse.testing.simulation import Plan, generate
from resilient_sse.testing.simulation.__main__ import main
from tests.simulation.sabotage import overlooked_holes


def test_a_plan_is_printed_and_played(capsys, tmp_path):
    """Print a plan, keep it in a file, play the file."""
    assert main(["--seed", "7", "--print"]) == 0
    text = capsys.readouterr().out
    assert Plan.from_json(text) == generate(7)

    path = tmp_path / "plan.json"
    path.write_text(text)
    assert main(["--plan", str(path), "--trace"]) == 0
    out = capsys.readouterr().out
    assert "connecting -> connected (opened)" in out
    assert out.endswith("seed 7: done, 0 broken promises\n")


def test_seeds_are_swept(capsys):
    """A range gives the table."""
    assert main(["--seeds", "0..5", "--progress"]) == 0

    out, err = capsys.readouterr()
    assert out.startswith("5 runs, ")
    assert "broken promises: 0" in out
    assert "5 seeds" in err


def test_a_broken_promise_is_an_exit_status(capsys):
    """The seed is named, and shrinking leaves little of it."""
    with overlooked_holes():
        assert main(["--seeds", "0..20"]) == 1
        seed = capsys.readouterr().out.partition("\nseed ")[2].partition(":")[0]
        assert main(["--seed", seed]) == 1
        assert "lost at" in capsys.readouterr().out
        assert main(["--seed", seed, "--shrink", "--print"]) == 0

    assert len(capsys.readouterr().out.splitlines()) < 15


@pytest.mark.parametrize(
    "arguments,message",
    [
        ([], "one of the arguments --seed --plan --seeds is required"),
        (["--seeds", "9..3"], "the smaller one first, not '9..3'"),
        (["--seeds", "all"], "two numbers such as 0..10000"),
        (["--plan", "nowhere.json"], "nowhere.json: "),
        (["--seeds", "0..5", "--processes", "0"], "processes must be at least 1"),
    ],
)
def test_bad_arguments_are_explained(arguments, message, capsys):
    """A wrong argument ends with status 2 and says what would be right."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)

    assert message in capsys.readouterr().err


def test_it_runs_as_a_program():
    """Two processes share the work of a real program."""
    command = [
        sys.executable,
        "-m",
        "resilient_sse.testing.simulation",
        "--seeds",
        "0..300",
        "--processes",
        "2",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("300 runs, ")
