"""Float64 to the end, where that is the precision."""

from __future__ import annotations

from typing import Any

from lightning_fabric.plugins.precision.double import DoublePrecision


class Double(DoublePrecision):
    """Float64 with outputs in float64: Fabric's own rounds them, so that losses would be those of 32 bits."""

    def convert_output(self, data: Any) -> Any:
        """Return what the network says, as it says it."""
        return data


def precise(precision: str) -> dict[str, Any]:
    """Return the arguments of `Fabric` for a precision."""
    return {"plugins": [Double()]} if precision == Double.precision else {"precision": precision}
