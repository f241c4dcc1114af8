"""The alert rules whose conditions the report names (R218): one table, fit to make rule files from as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["ALERT_RULES", "AlertRule", "alerts_configured"]


@dataclass(frozen=True, slots=True)
class AlertRule:
    """
    A condition under which somebody is told.

    Attributes:
        measure: What is watched.
        relation: On which side of the threshold it is bad.
        threshold: The threshold.
        unit: What it is counted in: `%`, `s`, or nothing.
        severity: How urgent it is.
    """

    measure: str
    relation: Literal["<", ">"]
    threshold: float
    unit: str
    severity: Literal["critical", "high", "medium"]

    @property
    def condition(self) -> str:
        """The condition in words: `completion_rate < 99.5%`."""
        return f"{self.measure} {self.relation} {self.threshold:g}{self.unit}"


ALERT_RULES: Sequence[AlertRule] = (
    AlertRule("completion_rate", "<", 99.5, "%", "critical"),
    AlertRule("mean_reconnect", ">", 5, "s", "high"),
    AlertRule("duplicate_rate", ">", 1, "%", "medium"),
    AlertRule("message_loss", ">", 0, "", "critical"),
)


def alerts_configured() -> list[str]:
    """Return the conditions of all rules."""
    return [rule.condition for rule in ALERT_RULES]
