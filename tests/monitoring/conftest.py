"""A directory with the rules and their tests in it, and promtool to judge them."""

import subprocess

import pytest

from resilient_sse.monitoring.prometheus_rules import prometheus_rules
from tests.monitoring.tools import need


@pytest.fixture
def rules(tmp_path):
    """Write the rules, and give their path."""
    path = tmp_path / "sse-rules.yml"
    path.write_text(prometheus_rules(), encoding="utf-8")
    return path


@pytest.fixture
def judge(tmp_path):
    """Give a function that has promtool judge files of the directory, and returns its code and what it said."""

    def judge(*arguments):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        command = [need("promtool"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, **pipes, text=True, timeout=110, check=False)
        return done.returncode, done.stdout

    return judge
