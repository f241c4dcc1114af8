"""Imported before anything else of this package: says what to install where something is missing."""

from resilient_sse.testing.extra import require

require("the reference server")
