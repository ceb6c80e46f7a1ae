"""How networks are executed: applied from outside, with the same parameters and the same call."""

from ramify.execution.compiled import fastest
from ramify.execution.execution import (
    DEFAULT,
    EXECUTIONS,
    Execution,
    Form,
    check_execution,
    definition_of,
    executed,
    prepare,
)

__all__ = [
    "DEFAULT",
    "EXECUTIONS",
    "Execution",
    "Form",
    "check_execution",
    "definition_of",
    "executed",
    "fastest",
    "prepare",
]
