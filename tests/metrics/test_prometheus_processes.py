"""Several processes, one scrape: prometheus-client's multi-process mode."""

import gc
import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.parser import text_string_to_metric_families

from resilient_sse import StreamStats
from resilient_sse.metrics import prometheus_processes
from resilient_sse.metrics.catalogue import STALLS, STREAMS
from resilient_sse.metrics.labels import Labels
from resilient_sse.metrics.prometheus import merged_registry
from resilient_sse.metrics.prometheus_processes import FigureFiles

ROOT = Path(__file__).parents[2]

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
        [sys.executable, "-W", "error", "-m", "tests.metrics.worker", job],
        cwd=ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """Wait for a process; return what its streams have counted, and what it complained about."""
    printed, complaints = process.communicate(timeout=90)
    assert process.returncode == 0, complaints
    figures: Counter[str] = Counter()
    for line in printed.splitlines():
        figures.update({name: value for name, value in json.loads(line).items() if isinstance(value, int)})
    return figures, complaints


def run(job, directory):
    """Run a process to its end."""
    return finish(start(job, directory))


def samples(text):
    """Return all samples of a text by name and labels."""
    families = text_string_to_metric_families(text)
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def scraped(directory):
    """Scrape the merged registry."""
    return samples(generate_latest(merged_registry(str(directory))).decode())


@contextmanager
def served(registry):
    """Serve a registry over a real socket."""
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.slow
def test_two_processes_and_a_scrape_of_both(directory, monkeypatch):
    """Each goes through the torment; one scrape over HTTP shows the sum of both (P28, R185)."""
    monkeypatch.setenv("PROGRAM_COUNTS", "1")
    both = [start("torment", directory), start("torment", directory)]
    figures = sum((finish(process)[0] for process in both), Counter())
    with served(merged_registry(str(directory))) as port:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20).read().decode()
    shown = samples(text)
    assert figures["received"] == 40
    assert shown["sse_client_events_received_total",] == figures["received"]
    assert shown["sse_total_events_received",] == figures["received"] - figures["heartbeats"]
    assert shown["sse_duplicate_events_total",] == figures["duplicates"] == 6
    assert shown["sse_message_loss_total",] == figures["lost"] == 4
    assert shown["sse_streams_started_total",] == 2
    assert shown["sse_user_visible_errors_total", "connection_lost"] == figures["connection_errors"]
    assert shown["sse_reconnect_time_ms_count",] == 10
    assert shown["sse_reconnect_time_ms_bucket", "1000.0"] == 8
    assert shown["sse_client_reconnects_total", "stall"] == figures["stalls"] == 6
    assert shown["sse_client_repeated_stalls_total",] == 4
    assert shown["program_done_total",] == 2, "what else is in the directory is shown, too"
    assert "# TYPE sse_total_events_received gauge" in text


def test_the_plain_collector_shows_all_but_the_ratio(directory):
    """Who scrapes as prometheus-client's pages say has everything that can be added up."""
    run("torment", directory)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))
    plain, merged = samples(generate_latest(registry).decode()), scraped(directory)
    assert plain["sse_total_events_received",] == 18
    assert merged.keys() - plain.keys() == {("sse_stream_completion_rate",)}
    assert {name: merged[name] for name in plain} == plain


@pytest.mark.proof
@pytest.mark.ci
def test_live_figures_are_those_of_live_processes(directory):
    """Totals outlive a process; states and the completion rate go with it, once it is marked as dead."""
    process = start("hold", directory)
    try:
        assert process.stdout.readline() == "held\n"
        assert ("sse_stream_completion_rate",) not in scraped(directory), "of its stream it is unknown"
        run("torment", directory)
        shown = scraped(directory)
        assert shown["sse_client_streams", "connected"] == 1
        assert shown["sse_streams_started_total",] == 2
        assert shown["sse_stream_completion_rate",] == 87.5, "of the other process"
    finally:
        process.communicate(timeout=30)
    for path in directory.glob("gauge_livesum_*.db"):
        mark_process_dead(path.stem.rpartition("_")[2], str(directory))
    shown = scraped(directory)
    assert ("sse_client_streams", "connected") not in shown
    assert ("sse_stream_completion_rate",) not in shown
    assert shown["sse_streams_started_total",] == 2
    assert shown["sse_total_events_received",] == 18 + 2


def test_a_killed_process_has_written_its_figures(directory):
    """Nobody has to call anything: the figures are written once a second."""
    figures, _ = run("die", directory)
    shown = scraped(directory)
    assert shown["sse_client_events_received_total",] == figures["received"] == 20
    assert shown["sse_stream_completion_rate",] == 87.5


def test_a_fork_counts_for_itself(directory):
    """The child inherits the memory of the parent, not its figures: three streams are three."""
    figures, complaints = run("fork", directory)
    assert complaints == ""
    shown = scraped(directory)
    assert shown["sse_streams_started_total",] == 3
    assert shown["sse_client_events_received_total",] == figures["received"] == 60
    assert shown["sse_reconnect_time_ms_count",] == 15
    assert len(list(directory.glob("counter_*.db"))) == 2


@pytest.mark.proof
@pytest.mark.ci
def test_a_fork_in_the_midst_of_writing(directory):
    """No child finds a lock held by a thread that it has not got."""
    run("forks", directory)
    assert scraped(directory)["sse_streams_started_total",] == 31


@pytest.mark.proof
@pytest.mark.ci
def test_labels_are_kept_in_the_files(directory):
    """Series of the same labels are added up, the completion rate is made for each (R97)."""
    run("label", directory)
    run("label", directory)
    shown = scraped(directory)
    assert shown["sse_streams_started_total", "4g"] == 2
    assert shown["sse_stream_completion_rate", "4g"] == 87.5
    assert shown["sse_total_events_received", "4g"] == 36


@pytest.mark.proof
@pytest.mark.ci
def test_two_registries_share_the_files(directory):
    """Two writers of one file would overwrite each other."""
    run("twice", directory)
    shown = scraped(directory)
    assert shown["sse_streams_started_total",] == 2
    assert shown["sse_client_events_received_total",] == 40
    assert shown["sse_reconnect_time_ms_count",] == 10


@pytest.mark.proof
@pytest.mark.ci
def test_a_directory_that_goes_away(directory):
    """The streams go on to their end."""
    figures, _ = run("nowhere", directory)
    assert figures["received"] == 40
    assert figures["callback_errors"] == 0


def test_a_directory_that_cannot_be_written(tmp_path):
    """The streams go on; the fault is counted by the first one, and logged once (bad input)."""
    missing = tmp_path / "missing"
    figures, complaints = run("torment", missing)
    assert figures["received"] == 20
    assert figures["callback_errors"] == 1
    assert complaints.count("a callback of the stream failed") == 1
    assert complaints.count("FileNotFoundError") >= 1


def test_no_directory_to_scrape(tmp_path):
    """The text names the variable."""
    with pytest.raises(ValueError, match="PROMETHEUS_MULTIPROC_DIR is not set or not a directory"):
        merged_registry(str(tmp_path / "missing"))


@pytest.mark.proof
@pytest.mark.ci
def test_a_torn_read_is_mended(directory, monkeypatch):
    """Files are read while they are written: what was received is added up from its parts (P28)."""
    run("torment", directory)
    collect = MultiProcessCollector.collect

    def torn(collector):
        for family in collect(collector):
            if family.name in ("sse_client_events_received", "sse_total_events_received"):
                family.samples = [sample._replace(value=sample.value - 1) for sample in family.samples]
            yield family

    monkeypatch.setattr(MultiProcessCollector, "collect", torn)
    shown = scraped(directory)
    assert shown["sse_client_events_received_total",] == 20
    assert shown["sse_total_events_received",] == 18


@pytest.fixture
def files():
    """Give the writer of one process; without the variable its files are in memory."""
    return FigureFiles(Labels())


def written(files):
    """Read what was written of one counter."""
    (family,) = files._counters[STALLS].collect()
    return next(sample.value for sample in family.samples if sample.name == STALLS.name)


def test_a_fault_of_the_disk_is_counted_logged_once_and_made_up_for(files, monkeypatch, caplog):
    """A full disk stops no stream; when there is room again nothing is missing (bad input)."""
    stats = StreamStats(started_at=0.0, stalls=3)
    observer = files.figures.attach(stats)
    full = files._gauges[STREAMS]
    monkeypatch.setitem(files._gauges, STREAMS, None)
    assert files.write(), "the stream is there, so there is more to come"
    assert files.write()
    assert [record.message for record in caplog.records] == [
        "figures cannot be written to PROMETHEUS_MULTIPROC_DIR"
    ]
    assert caplog.records[0].exc_info is not None
    monkeypatch.setitem(files._gauges, STREAMS, full)
    stats.stalls = 5
    files.write()
    assert written(files) == 5
    assert files.failures == 2
    monkeypatch.setitem(files._gauges, STREAMS, None)
    files.write()
    assert (files.failures, len(caplog.records)) == (3, 2), "another fault is logged, too"
    assert observer is not None


def test_faults_of_the_disk_are_counted(tmp_path):
    """Where the program can see them; without files there are none (bad input)."""
    ran = subprocess.run(
        [sys.executable, "-c", COUNTED],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.stdout.split() == ["0", "1"], ran.stderr


def test_the_thread_lives_as_long_as_there_are_streams(files, monkeypatch):
    """It ends with the last stream, and the next one starts it again; all is written by then."""
    monkeypatch.setattr(prometheus_processes, "INTERVAL", 0.01)
    for stalls in (2, 5):
        observer = files.figures.attach(StreamStats(started_at=0.0, stalls=stalls))
        files.keep_up()
        thread = files._thread
        files.keep_up()
        assert files._thread is thread, "one is enough"
        del observer
        gc.collect()
        thread.join(30)
        assert not thread.is_alive()
    assert files._thread is None
    assert written(files) == 7


COUNTED = """\
from resilient_sse.metrics.prometheus import PrometheusMetrics

metrics = PrometheusMetrics()
print(metrics.failures)
metrics._shared._files._gauges = None
metrics._shared._files.write()
print(metrics.failures)
"""


DELETED = """\
import os, shutil
from resilient_sse import StreamStats
from resilient_sse.metrics.prometheus import PrometheusMetrics, merged_registry
from prometheus_client import generate_latest

directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
metrics = PrometheusMetrics()
observer = metrics.attach(StreamStats(), "https://host/stream")
metrics.flush()
assert b"sse_client_streams" in generate_latest(merged_registry())
shutil.rmtree(directory)
metrics.flush()
try:
    merged_registry()
except ValueError as error:
    print(error)
os.mkdir(directory)
metrics.flush()
print(generate_latest(merged_registry()))
"""


def test_a_directory_that_is_deleted_while_running(directory):
    """As the page says: nobody is told, scrapes fail until it is back, and the process is shown no more."""
    code = [sys.executable, "-c", DELETED]
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    ran = subprocess.run(code, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == ["env PROMETHEUS_MULTIPROC_DIR is not set or not a directory", "b''"]
