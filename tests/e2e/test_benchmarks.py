"""The benchmarks as far as they say yes or no: what every client makes of the payloads, and what is written."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytestmark = [
    pytest.mark.own,
    pytest.mark.proof,
    pytest.mark.ci,
    pytest.mark.skipif(os.name == "nt", reason="the benchmarks need POSIX"),
]

ROOT = Path(__file__).parents[2]


def benchmarks(*options):
    """Run the program to its end."""
    command = [sys.executable, "-m", "benchmarks", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_client_makes_the_expected_events():
    """`--check` passes: both forms of ours are equal on every payload, and peers differ only where it is known."""
    run = benchmarks("--check")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "resilient_sse: equal\nresilient_sse on httpx: equal\n" in run.stdout
    assert "httpx-sse: " in run.stdout


def test_what_is_measured_is_written(tmp_path):
    """A run of two rows gives samples as JSON and a chart that is well formed; nothing is said about the times."""
    samples, chart = tmp_path / "run.json", tmp_path / "run.svg"
    options = ["--rounds", "1", "--seconds", "0.01", "--json", str(samples), "--svg", str(chart)]
    run = benchmarks("--rows", "decode-llm,bulk", "--peers", "resilient_sse,resilient_sse on", *options)
    assert run.returncode == 0, run.stdout + run.stderr
    rows = json.loads(samples.read_text())["rows"]
    measured = {row["row"]: {client["name"] for client in row["clients"]} for row in rows}
    assert measured == {
        "decode-llm": {"resilient_sse on httpx", "httpx-sse"},
        "bulk": {"resilient_sse", "resilient_sse on httpx", "httpx-sse"},
    }
    tags = {element.tag.rpartition("}")[2] for element in ET.parse(chart).iter()}  # noqa: S314 - it is ours
    assert tags == {"svg", "style", "text", "rect"}
