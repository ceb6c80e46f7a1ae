"""Export: a trained network as plain PyTorch code, weights, and programs that run without Ramify."""

from ramify.exporting.network import ExportResult, export_network

__all__ = ["ExportResult", "export_network"]
