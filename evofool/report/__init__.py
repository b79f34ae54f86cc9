"""Pictures of a run: contact sheets, convergence and reward plots, histograms; figures of attacks."""

from evofool.report.contact_sheet import contact_sheet, format_confidence, sheet_of
from evofool.report.histogram import confidence_histogram
from evofool.report.pages import contact_pages
from evofool.report.plots import ReportedMedian, convergence_plot, reward_plot, steps_plot

__all__ = [
    "ReportedMedian",
    "confidence_histogram",
    "contact_pages",
    "contact_sheet",
    "convergence_plot",
    "format_confidence",
    "reward_plot",
    "sheet_of",
    "steps_plot",
]
