"""
What tells somebody that streams are ill: alert rules, recording rules, monitors and a dashboard.

All of it is made from one table, `resilient_sse.monitoring.alerts`, and needs nothing but the standard library.
"""

from resilient_sse.monitoring.alerts import ALERTS, SLOS, Alert, Severity, Slo, conditions

__all__ = ["ALERTS", "SLOS", "Alert", "Severity", "Slo", "conditions"]
