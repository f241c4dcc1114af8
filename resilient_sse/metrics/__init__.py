"""
The figures of streams, exported.

Each exporter is a module of its own with an extra of its own; importing this package imports none of them:

- `resilient_sse.metrics.prometheus`: `pip install 'resilient-sse[prometheus]'`
- `resilient_sse.metrics.opentelemetry`: `pip install 'resilient-sse[otel]'`
- `resilient_sse.metrics.datadog`: `pip install 'resilient-sse[datadog]'`
"""

__all__: list[str] = []
"""Nothing: each exporter is imported from its own module, for each needs a package of its own."""
