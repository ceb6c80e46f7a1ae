"""What networks cost, before they are trained: records, tables, expectations, limits.

A cost is a record, `Cost(name, unit, measure, additive)`; the library has parameters, multiply-adds and latencies, a
file can hold a table of operators, or of the leaf calls of a device (`file:PATH`), and `@cost` adds one's own.
`MemberCosts` says what every member of a space costs, `ExpectedCost` what one that is drawn will, `Limits` which member
is the best within limits, and `ConstrainedSampler` draws uniformly among those.
"""

from ramify.costs.budget import Budget, StageBudget, SumBudget, budget
from ramify.costs.chain import ChainCosts
from ramify.costs.drawing import draw_within
from ramify.costs.elastic import PolynomialCost
from ramify.costs.expected import Expectation, ExpectedCost, expected_cost
from ramify.costs.inputs import Inputs
from ramify.costs.latency_table import LatencyTable, Prediction
from ramify.costs.limits import Limits, check_limits
from ramify.costs.measuring import measure_latency
from ramify.costs.members import Costs, EstimatedCosts, MemberCosts, member_costs
from ramify.costs.nested import NestedCost
from ramify.costs.networks import Networks
from ramify.costs.predicting import PredictedLatency
from ramify.costs.profiling import Profile, images_for, latency_ms, profile
from ramify.costs.prunable import PrunableCost
from ramify.costs.record import COSTS, Cost, check_counted, cost, find, is_cost
from ramify.costs.sampling import ConstrainedSampler
from ramify.costs.target import Target

__all__ = [
    "COSTS",
    "Budget",
    "ChainCosts",
    "ConstrainedSampler",
    "Cost",
    "Costs",
    "EstimatedCosts",
    "Expectation",
    "ExpectedCost",
    "Inputs",
    "LatencyTable",
    "Limits",
    "MemberCosts",
    "NestedCost",
    "Networks",
    "PolynomialCost",
    "PredictedLatency",
    "Prediction",
    "Profile",
    "PrunableCost",
    "StageBudget",
    "SumBudget",
    "Target",
    "budget",
    "check_counted",
    "check_limits",
    "cost",
    "draw_within",
    "expected_cost",
    "find",
    "images_for",
    "is_cost",
    "latency_ms",
    "measure_latency",
    "member_costs",
    "profile",
]
