"""Export: a trained network as plain PyTorch code, weights, and programs that run without Ramify."""

from ramify.exporting.formats import FORMATS
from ramify.exporting.network import ExportResult, export_network
from ramify.exporting.reading import is_export, read_export

__all__ = ["FORMATS", "ExportResult", "export_network", "is_export", "read_export"]
