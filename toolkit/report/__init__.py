"""Tables, charts, one HTML page and Markdown."""

from toolkit.report.compare_runs import write_comparison
from toolkit.report.page import write_report

__all__ = ["write_comparison", "write_report"]
