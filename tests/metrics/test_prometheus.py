"""What Prometheus is shown: names, values, format, labels; and that nothing about it harms a stream."""

import os
import signal
import subprocess
import threading
import time

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from resilient_sse import Reason, StreamStats
from resilient_sse._core.recovery import Recovery
from resilient_sse.metrics.catalogue import METRICS
from resilient_sse.metrics.prometheus import PrometheusMetrics
from resilient_sse.testing import run_in_virtual_time
from tests.client.support import URL, drain, fork_beside, make, numbered
from tests.metrics.torment import given_up, tormented
from tests.monitoring.tools import need


async def test_a_tormented_run(script, registry, metrics):
    """
    After every fault at least once: each name of the catalogue with its type, help and labels, and no other.

    P28, R185, R126 to R132, X8; of the values, `test_exporters.py` has those that all exporters share.
    """
    await tormented(script, metrics)
    await given_up(metrics)
    text = generate_latest(registry).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for metric in METRICS:
        total = metric.name.endswith("_total")
        family = families.pop(metric.name.removesuffix("_total"))
        assert (family.type == metric.kind.value) or (family.type, total) == ("gauge", False)
        assert family.documentation == metric.help
        labels = {name: {sample.labels[name] for sample in family.samples} for name in metric.labels}
        assert labels == {name: {*values} for name, values in metric.labels.items()}
    assert families == {}
    series = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(series) == 185, "as the pages say"


def test_promtool_accepts_the_text(registry, metrics):
    """The linter of Prometheus complains of one name of the contract, whose companion is in seconds (R127)."""
    run_in_virtual_time(given_up, metrics)
    check = [need("promtool"), "check", "metrics"]
    done = subprocess.run(check, input=generate_latest(registry), capture_output=True, check=False)
    complaints = done.stderr.decode() + done.stdout.decode()
    assert complaints == "sse_reconnect_time_ms metric names should not contain abbreviated units\n"


@pytest.mark.parametrize("wrong", ["x", 9464, CollectorRegistry])
def test_what_is_no_registry_is_refused_at_once(wrong):
    """And what should be given is said (bad input)."""
    with pytest.raises(TypeError, match="registry must be a CollectorRegistry of prometheus_client, or None"):
        PrometheusMetrics(wrong)


async def test_the_default_registry_is_used(script):
    """`PrometheusMetrics()` is all there is to write, and what `start_http_server` shows."""
    from prometheus_client import REGISTRY  # noqa: PLC0415 - its figures belong to this test only

    before = REGISTRY.get_sample_value("sse_streams_started_total") or 0
    script.respond(*numbered(1))
    await drain(make(script, observers=[PrometheusMetrics()], on_eof="complete"))
    assert REGISTRY.get_sample_value("sse_streams_started_total") == before + 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.15 has it
def test_a_fork_counts_for_itself(metrics, shown):
    """The child inherits the memory of the parent, not its figures; nor a lock that a scrape holds."""
    kept = metrics.attach(StreamStats(started_at=0.0, delivered=3), URL)
    lost = {"silent_since": 0, "lost_at": 0, "opened_at": 0}
    kept(Recovery(reason=Reason.RESET, attempts=1, recovered_at=1, **lost))
    assert [shown(name) for name in FORKED] == [3, 1, 1]
    with metrics._figures._feeding, metrics._figures._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # a child that hangs is killed, and seen
            own = metrics.attach(StreamStats(started_at=0.0, delivered=7), URL)
            os._exit([shown(name) for name in FORKED] != [7, 1, 0] or own is None)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [shown(name) for name in FORKED] == [3, 1, 1]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_while_a_thread_makes_an_exporter():
    """The child can make one, too."""
    inside = threading.Event()

    class Slow(CollectorRegistry):
        def register(self, collector):
            inside.set()
            time.sleep(0.2)
            super().register(collector)

    thread = threading.Thread(target=PrometheusMetrics, args=[Slow()])
    assert fork_beside(thread, inside, lambda: PrometheusMetrics(CollectorRegistry())) == 0


FORKED = ("sse_client_events_delivered_total", "sse_streams_started_total", "sse_reconnect_time_ms_count")
