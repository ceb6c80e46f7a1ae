"""Reports of runs: pictures of cells, and HTML pages that work offline."""

from ramify.report.cells import draw_cell, save_cell
from ramify.report.compared import write_comparison
from ramify.report.html import write_report
from ramify.report.several import write_several
from ramify.report.tables import write_table

__all__ = ["draw_cell", "save_cell", "write_comparison", "write_report", "write_several", "write_table"]
