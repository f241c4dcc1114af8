"""What the tests of the metrics share: one event loop, a registry of their own, and the figures that it shows."""

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

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
    """Give a function that scrapes the registry and returns one sample of its text, `None` if it is absent."""

    def sample(name: str, **labels: str) -> float | None:
        text = generate_latest(registry).decode()
        for family in text_string_to_metric_families(text):
            for found in family.samples:
                if found.name == name and found.labels == labels:
                    return found.value
        return None

    return sample
