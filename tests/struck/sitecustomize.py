"""Python imports this first where this folder is on its path: see `striking`."""

import striking

striking.strike_as_told()
