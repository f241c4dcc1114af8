"""
Reports on the production scenarios: gates, JSON, tables, and a page.

Everything is computed from the raw log of the runs (`resilient_sse.testing.scenarios.log`).
"""

from resilient_sse.testing.extra import require

require("the report", "rich", server=False)  # before what needs it is imported

# ruff: noqa: E402
from resilient_sse.testing.report.document import GATES as GATES
from resilient_sse.testing.report.document import Judged as Judged
from resilient_sse.testing.report.document import Report as Report
from resilient_sse.testing.report.document import report_schema as report_schema
from resilient_sse.testing.report.page import print_report as print_report
from resilient_sse.testing.report.page import render_page as render_page
from resilient_sse.testing.scenarios.gates import GateResult as GateResult
