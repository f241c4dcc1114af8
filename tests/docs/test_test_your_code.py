"""The tests that the page about testing shows are tests that pass."""

import re
import subprocess
import sys

from tests.docs.pages import fences, text_of

FILES = {
    re.match(r"# (\w+\.py)\n", block)[1]: block
    for block in fences(text_of("how-to/test-your-code.md"), "python")
    if block.startswith("# ")
}


def run_pytest(directory):
    """Run pytest as a reader would, in a directory of its own."""
    for name, block in FILES.items():
        (directory / name).write_text(block, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "--rootdir=.", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)


def test_the_tests_of_the_page_pass(tmp_path):
    """Each test of the page runs on both event loops and passes."""
    tests = sum(block.count("async def test_") for block in FILES.values())
    result = run_pytest(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{2 * tests} passed" in result.stdout
    assert tests >= 4


def test_the_tests_of_the_page_can_fail(tmp_path, monkeypatch):
    """They do test something: without `until` the code under test does not pass them."""
    monkeypatch.setitem(
        FILES, "follower.py", FILES["follower.py"].replace(', until="done"', ", max_retries=0")
    )
    result = run_pytest(tmp_path)
    assert result.returncode == 1
    assert "failed" in result.stdout
