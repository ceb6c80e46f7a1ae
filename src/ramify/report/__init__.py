"""Reports of runs: pictures of cells, curves, and one HTML page that works offline."""

from ramify.report.cells import draw_cell, save_cell
from ramify.report.html import write_report

__all__ = ["draw_cell", "save_cell", "write_report"]
