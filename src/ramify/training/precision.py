"""Float64 throughout, if that is the precision."""

from __future__ import annotations

from typing import Any

from lightning_fabric.plugins.precision.double import DoublePrecision


class Double(DoublePrecision):
    """Float64 precision with outputs in float64; Fabric's own rounds them to float32."""

    def convert_output(self, data: Any) -> Any:
        """Return the network's output unchanged."""
        return data


def precise(precision: str) -> dict[str, Any]:
    """Return the arguments of `Fabric` for a precision."""
    return {"plugins": [Double()]} if precision == Double.precision else {"precision": precision}
