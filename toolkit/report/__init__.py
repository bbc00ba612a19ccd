"""Tables, charts, one HTML page and Markdown."""

from toolkit.report.page import write_report
from toolkit.report.versus import write_comparison

__all__ = ["write_comparison", "write_report"]
