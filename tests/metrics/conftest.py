"""What the tests of the metrics share: one event loop, a registry of their own, and the figures that it shows."""

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from resilient_sse.metrics.prometheus import PrometheusMetrics
from resilient_sse.testing import virtual_backend

Shown = Callable[..., float | None]


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Give the loop of asyncio: facts are the same on both."""
    return "asyncio" if request.node.get_closest_marker("e2e") else virtual_backend("asyncio")


@pytest.fixture
def registry() -> CollectorRegistry:
    """Give a registry that no other test uses."""
    return CollectorRegistry()


@pytest.fixture
def metrics(registry) -> PrometheusMetrics:
    """Give the instrument of that registry."""
    return PrometheusMetrics(registry)


@pytest.fixture
def shown(registry) -> Shown:
    """Give a function that returns one sample of a scrape, `None` if it is absent."""
    return lambda name, **labels: registry.get_sample_value(name, labels)
