"""
Reports on the production scenarios: figures, gates, JSON, a page, and a checker that trusts none of them.

Everything is computed from the raw log of the runs (`resilient_sse.testing.scenarios.log`).
"""

from resilient_sse.testing.report.checking import check, check_files
from resilient_sse.testing.report.document import Judged, Report
from resilient_sse.testing.report.gates import GATES, Gate, Verdict
from resilient_sse.testing.report.page import render_page
from resilient_sse.testing.report.runs import Recovery, Run
from resilient_sse.testing.report.schema import report_schema
from resilient_sse.testing.report.table import print_report

__all__ = [
    "GATES",
    "Gate",
    "Judged",
    "Recovery",
    "Report",
    "Run",
    "Verdict",
    "check",
    "check_files",
    "print_report",
    "render_page",
    "report_schema",
]
