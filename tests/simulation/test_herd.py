"""The thundering herd: arithmetic over a fleet's delays, and real streams under a server that was down."""

import pytest

from resilient_sse import Backoff
from tests.simulation.herd import herd_of_delays, peak_share
from tests.simulation.herd_run import herd_of_streams

AT_CAP = 4


@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_clients_do_not_come_at_once(seed):
    """No slot of 10 ms holds over 8 % of the retries at attempt 1, nor over 4 % at the cap (R60)."""
    herd = herd_of_delays(1000, attempts=8, seed=seed)
    waits = {wait.attempt: wait for wait in herd.waits}

    assert waits[1].peak <= 0.08
    assert all(waits[attempt].peak <= 0.04 for attempt in range(AT_CAP, 9))
    assert 0.45 < waits[AT_CAP].spread <= 0.5
    assert max(waits[AT_CAP].delays) <= 5.0


@pytest.mark.parametrize("seed", range(5))
def test_each_client_draws_its_own_delay(seed):
    """Over 80 of 100 differ by 0.1 ms at attempts 1, 2, 3 and at the cap; 10 of 10 differ (R59, R177)."""
    hundred, ten = herd_of_delays(100, seed=seed), herd_of_delays(10, seed=seed)

    assert all(wait.distinct(4) > 80 for wait in hundred.waits)
    assert all(wait.distinct() == 10 for wait in ten.waits)


def test_without_jitter_all_come_at_once():
    """The model can fail: this is the herd that jitter prevents."""
    herd = herd_of_delays(1000, backoff=Backoff(jitter=0))

    assert [wait.peak for wait in herd.waits] == [1.0] * 6


def test_wider_jitter_is_flatter():
    """Half and full jitter spread the first retries over seconds (R60)."""
    peaks = [herd_of_delays(1000, backoff=Backoff(jitter=jitter)).waits[0].peak for jitter in (0.1, 0.5, 1.0)]

    assert peaks == sorted(peaks, reverse=True)
    assert peaks[-1] < 0.02


def test_retry_after_does_not_gather_the_herd():
    """What the server asks for is a floor, jittered upwards, and not one moment for all."""
    herd = herd_of_delays(1000, retry_after=10.0)

    assert all(min(wait.delays) >= 10.0 and wait.peak <= 0.04 for wait in herd.waits)


def test_arrivals_are_sums():
    """The second retry comes after both delays."""
    herd = herd_of_delays(5)

    assert herd.arrivals(1).delays == herd.waits[0].delays
    assert herd.arrivals(2).delays[3] == herd.waits[0].delays[3] + herd.waits[1].delays[3]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.slow
def test_real_streams_come_back_one_by_one(backend):
    """100 streams that lost their server in one moment neither retry nor return together (R60, R61)."""
    arrivals = herd_of_streams(100, down=20.0, backend=backend)

    assert len(arrivals.back) == 100
    assert max(arrivals.back) <= 5.0
    assert arrivals.delays[0].distinct(4) > 80
    assert all(wait.peak < 0.25 for wait in arrivals.retries)
    assert peak_share(arrivals.back) < 0.25


def test_real_streams_heed_retry_after():
    """A server that is down and says for how long is not asked before."""
    arrivals = herd_of_streams(50, down=20.0, retry_after=8)

    assert all(min(wait.delays) >= 8.0 for wait in arrivals.delays[1:])
    assert len(arrivals.back) == 50


@pytest.mark.parametrize("clients,attempts", [(0, 1), (1, 0)])
def test_an_empty_herd_is_refused(clients, attempts):
    """Bad input is named."""
    with pytest.raises(ValueError, match="must be at least 1"):
        herd_of_delays(clients, attempts=attempts)
    with pytest.raises(ValueError, match="clients must be at least 1"):
        herd_of_streams(0)


def test_a_share_is_of_the_fullest_slot():
    """Three of four in one slot of 10 ms."""
    assert peak_share([0.001, 0.002, 0.009, 0.011]) == 0.75
