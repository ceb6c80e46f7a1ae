"""Python imports this first where this folder is on its path: see `ramify.testing.strikes`."""

from ramify.testing import strikes

strikes.strike_as_told()
