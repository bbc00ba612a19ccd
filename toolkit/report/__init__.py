"""Tables, charts, one HTML page and Markdown."""

from toolkit.report.page import write_report

__all__ = ["write_report"]
