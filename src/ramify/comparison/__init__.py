"""Honest comparison of multi-trial strategies: equal budgets, many seeds, random search always among them."""

from ramify.comparison.comparing import Comparison, compare

__all__ = ["Comparison", "compare"]
