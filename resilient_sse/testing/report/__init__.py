"""
Reports on the production scenarios: gates, JSON, tables, and a page.

Everything is computed from the raw log of the runs (`resilient_sse.testing.scenarios.log`).
"""

from resilient_sse.testing.extra import require

require("the report", "rich", server=False)  # before what needs it is imported

# ruff: noqa: E402
from resilient_sse.testing.report.document import GATES, Judged, Report, report_schema
from resilient_sse.testing.report.page import print_report, render_page
from resilient_sse.testing.scenarios.gates import Gate, Verdict
from resilient_sse.testing.scenarios.log import Recovery, Run

__all__ = [
    "GATES",
    "Gate",
    "Judged",
    "Recovery",
    "Report",
    "Run",
    "Verdict",
    "print_report",
    "render_page",
    "report_schema",
]
