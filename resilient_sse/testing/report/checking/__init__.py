"""
The independent checker: every figure of a report once more, from the raw log, by other code.

Nothing here is imported from where the report computes its figures, or the other way round.  The report walks
through each stream's entries; this counts over columns of whole runs.  What both read is the table of gates.
"""

from resilient_sse.testing.report.checking.check import check, check_files

__all__ = ["check", "check_files"]
