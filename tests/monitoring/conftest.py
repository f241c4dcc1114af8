"""A directory with the rules and their tests in it, and promtool to judge them."""

import pytest

from resilient_sse.monitoring.prometheus_rules import prometheus_rules
from tests.monitoring.tools import promtool


@pytest.fixture
def rules(tmp_path):
    """Write the rules, and give their path."""
    path = tmp_path / "sse-rules.yml"
    path.write_text(prometheus_rules(), encoding="utf-8")
    return path


@pytest.fixture
def judge(tmp_path):
    """Give a function that has promtool judge files of the directory."""

    def judge(*arguments):
        return promtool(*arguments, cwd=tmp_path)

    return judge
