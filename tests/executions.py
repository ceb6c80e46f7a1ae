"""The executions that can be tried on this machine."""

from ramify.execution import EXECUTIONS
from ramify.kernels import build

HERE = tuple(name for name in EXECUTIONS if name != "compiled" or build())
"""All of them, `compiled` only where kernels can be made."""
