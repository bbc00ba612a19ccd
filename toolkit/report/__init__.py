"""The report of a run: its pages and their figures, read from the run's files. Needs no torch."""

from toolkit.report.compare_runs import write_comparison
from toolkit.report.page import PAGES, write_report

__all__ = ["PAGES", "write_comparison", "write_report"]
