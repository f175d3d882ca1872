"""What becomes of a test that is skipped or excused."""

from __future__ import annotations

import pytest


def passed_or_failed(report: pytest.TestReport) -> pytest.TestReport:
    """The report, as a failure where it is neither."""
    if report.skipped or hasattr(report, "wasxfail"):
        vars(report).pop("wasxfail", None)
        report.outcome = "failed"
        report.longrepr = f"Every standard test must run and pass. {report.longrepr}"
    return report
