"""
The figures of streams, exported: `prometheus`, `opentelemetry` and `datadog` are modules with an extra each.

Importing this package imports none of them.
"""

__all__: list[str] = []
