"""Several processes, one scrape: prometheus-client's multi-process mode."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from resilient_sse.metrics.catalogue import RECENT_EXPECTED_EVENTS, RECENT_EXPECTED_EVENTS_RECEIVED
from resilient_sse.metrics.prometheus import merged_registry

QUIET = ("-W", "error", "-W", "ignore::ResourceWarning", "-W", "ignore:This process:DeprecationWarning")
"""Warnings are errors, but for the files that prometheus-client never closes, and for a fork beside threads."""

pytestmark = pytest.mark.e2e


@pytest.fixture
def directory(tmp_path):
    """Give the directory of the figures."""
    path = tmp_path / "figures"
    path.mkdir()
    return path


def start(job, directory):
    """Start a process."""
    return subprocess.Popen(
        [sys.executable, *QUIET, "-m", "tests.metrics.worker", job],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """Wait for a process; return what it told, and what it complained about."""
    printed, complaints = process.communicate(timeout=90)
    assert process.returncode == 0, complaints
    return [json.loads(line) for line in printed.splitlines()], complaints


def samples(registry):
    """Return all samples of a scrape by name and labels."""
    found = (sample for family in registry.collect() for sample in family.samples)
    return {(sample.name, *sorted(sample.labels.values())): sample.value for sample in found}


def scraped(directory):
    """Scrape the merged registry."""
    return samples(merged_registry(str(directory)))


@pytest.mark.slow
def test_three_processes_and_a_scrape_of_all(directory):
    """
    A process, a second one and its child go through the torment four times; one scrape shows the sum (P28, R185).

    A fork counts for itself, two registries of one process share its files, and nothing is lost at the end.
    """
    both = [start("torment", directory), start("fork", directory)]
    ([figures], complaints), (_, more) = map(finish, both)
    assert complaints == more == ""
    shown = scraped(directory)
    assert figures["received"] == 20
    assert len(list(directory.glob("counter_*.db"))) == 3
    assert shown["sse_client_events_received_total",] == 4 * figures["received"]
    assert shown["sse_total_events_received",] == 4 * (figures["received"] - figures["heartbeats"])
    assert shown["sse_duplicate_events_total",] == 4 * figures["duplicates"] == 12
    assert shown["sse_message_loss_total",] == 4 * figures["lost"] == 8
    assert shown["sse_streams_started_total",] == 4
    assert shown["sse_user_visible_errors_total", "connection_lost"] == 4 * figures["connection_errors"]
    assert shown["sse_user_visible_errors_total", "max_retries_exceeded"] == 0, (
        "before anything has happened, too"
    )
    assert shown["sse_reconnect_time_ms_count",] == 20
    assert shown["sse_reconnect_time_ms_bucket", "1000.0"] == 16
    assert shown["sse_client_reconnects_total", "stall"] == 4 * figures["stalls"] == 12
    assert shown["sse_stream_completion_rate",] == 87.5
    assert shown["program_done_total",] == 1, "what else is in the directory is shown, too"
    assert b"# TYPE sse_total_events_received gauge" in generate_latest(merged_registry(str(directory)))
    plain = CollectorRegistry()
    MultiProcessCollector(plain, str(directory))
    assert {("sse_stream_completion_rate",): 87.5, **samples(plain)} == shown, (
        "theirs shows all but the ratio"
    )


def test_a_killed_process_has_written_its_figures(directory):
    """Once a second, with nobody calling anything; totals outlive it, states go when the next one starts (R97)."""
    process = start("hold", directory)
    try:
        deadline = time.monotonic() + 60
        while not scraped(directory).get(("sse_client_streams", "4g", "connected")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate(timeout=30)
    shown = scraped(directory)
    assert shown["sse_client_streams", "4g", "connected"] == 1
    assert shown["sse_reconnect_time_ms_count", "4g"] == 0, "so that the first one is seen as a rise"
    assert ("sse_stream_completion_rate", "4g") not in shown, "it is unknown"
    (alive := directory / f"gauge_livesum_{os.getpid()}.db").write_bytes(bytes(8))
    finish(start("nothing", directory))
    assert alive.exists(), "of a process that runs"
    shown = scraped(directory)
    assert ("sse_client_streams", "4g", "connected") not in shown
    assert shown["sse_total_events_received", "4g"] == 2


def test_a_directory_that_refuses_for_a_while(directory):
    """
    It stops no stream; it is counted, logged once, and made up for (bad input).

    As the page says of a directory that is deleted: nobody is told, scrapes fail until it is back, and the process
    is shown no more.
    """
    (early, late, stalls, error, text), complaints = finish(start("full", directory))
    assert 3 <= early <= late
    assert complaints.count("PrometheusMetrics cannot hand over the figures") == 1
    assert complaints.count("Traceback") == 1
    assert stalls == 5
    assert error == "env PROMETHEUS_MULTIPROC_DIR is not set or not a directory"
    assert text == ""


def test_a_directory_that_cannot_be_written(tmp_path):
    """The program hears of it where the exporter is made, as of any metric of prometheus-client (bad input)."""
    process = start("torment", tmp_path / "missing")
    printed, complaints = process.communicate(timeout=90)
    assert (printed, process.returncode) == ("", 1)
    assert "FileNotFoundError" in complaints


@pytest.mark.proof
@pytest.mark.ci
def test_a_fork_in_the_midst_of_writing(directory):
    """No child finds a lock held by a thread that it has not got."""
    finish(start("forks", directory))
    assert scraped(directory)["sse_streams_started_total",] == 31


def test_a_scrape_in_the_midst_of_a_writing(directory, monkeypatch):
    """A process may have written what has arrived and not yet what was sent: no rate is above 100 %."""
    shown = {RECENT_EXPECTED_EVENTS: 10, RECENT_EXPECTED_EVENTS_RECEIVED: 11}
    families = [GaugeMetricFamily(metric.name, "", value) for metric, value in shown.items()]
    monkeypatch.setattr(MultiProcessCollector, "collect", lambda _: families)
    assert merged_registry(str(directory)).get_sample_value("sse_stream_completion_rate") == 100
