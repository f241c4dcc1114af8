"""The tests that the page about testing shows are tests that pass, and the first is as short as it says."""

import os
import re
import subprocess
import sys

import pytest

from tests.docs.pages import fences, text_of

PAGE = text_of("testing/test-your-code.md")
FILES = {
    re.match(r"# (\w+\.py)\n", block)[1]: block for block in fences(PAGE, "python") if block.startswith("# ")
}
PLUGIN = "resilient_sse.testing.pytest_plugin"
LOAD = ["-p", "anyio", "-p", PLUGIN]
"""What makes pytest load the plugin in a checkout that was installed before the plugin existed."""


def run_pytest(directory, *options, files=FILES):
    """Run pytest as a reader would, in a directory of its own."""
    for name, block in files.items():
        (directory / name).write_text(block, encoding="utf-8")
    settings = ["-q", "-W", "error", "--strict-markers", "--rootdir=.", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *settings, *LOAD, *options]
    # Half the time of a short run is that of plugins that nobody asks for here.
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.slow
def test_the_tests_of_the_page_pass(tmp_path):
    """
    Each test of the page runs on both event loops and passes.

    The first passes when half a minute of silence has passed, of which nobody waits for any (P24).
    """
    tests = sum(block.count("async def test_") for block in FILES.values())
    result = run_pytest(tmp_path, "--durations=0")
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{2 * tests} passed" in result.stdout
    assert tests >= 7
    assert not re.search(r"^\d\d+\.\d+s ", result.stdout, re.MULTILINE)  # none took ten seconds


@pytest.mark.slow
def test_the_tests_of_the_page_can_fail(tmp_path):
    """They do test something: a follower that does not come back passes none that use it."""
    impatient = FILES["follower.py"].replace("observers=observers", "observers=observers, max_retries=0")
    result = run_pytest(tmp_path, files={**FILES, "follower.py": impatient})
    assert result.returncode == 1
    assert " failed" in result.stdout
    failed = set(re.findall(r"^FAILED (test_\w+\.py)", result.stdout, re.MULTILINE))
    assert failed >= {"test_stall.py", "test_faults.py", "test_states.py", "test_follower.py"}


def test_ten_lines_are_ten_lines():
    """The first test of the page has ten lines, imports included (P24)."""
    assert "in ten lines" in PAGE
    lines = [line for line in FILES["test_stall.py"].splitlines()[1:] if line.strip()]
    assert len(lines) == 10


def shape(text):
    """Return the lines of a report with their figures made equal: delays are random, and so are the times."""
    return [re.sub(r"\d+(\.\d+)?", "0", line) for line in text.strip("\n").splitlines()]


@pytest.mark.parametrize(
    "file, change, begins",
    [
        pytest.param("test_stall.py", ('"upon"]', '"time"]'), "---", id="conversation"),
        pytest.param(
            "test_states.py",
            ('"connected", "waiting", "reconnecting", ..., "closed"', '..., "error"'),
            ">  ",
            id="timeline",
        ),
    ],
)
@pytest.mark.proof
@pytest.mark.ci
def test_failures_look_as_the_page_says(tmp_path, file, change, begins):
    """The reports that the page shows are those of pytest, but for the random figures."""
    assert change[0] in FILES[file]
    files = {"follower.py": FILES["follower.py"], file: FILES[file].replace(*change)}
    result = run_pytest(tmp_path, "-k", "asyncio", files=files)
    assert result.returncode == 1
    (shown,) = [block for block in fences(PAGE, "text") if block.startswith(begins)]
    expected, printed = shape(shown), shape(result.stdout)
    start = printed.index(expected[0])
    assert printed[start : start + len(expected)] == expected
