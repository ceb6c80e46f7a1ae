"""What a run leaves for people: pictures of cells, curves, and one HTML page that needs no network."""

from ramify.report.cells import draw_cell, save_cell
from ramify.report.html import write_report

__all__ = ["draw_cell", "save_cell", "write_report"]
