"""`python -m ramify.testing.struck …` is `ramify …`, struck as the environment says (`strikes.py`).

So are the processes that it spawns, which import this module before anything else.
"""

import sys

from ramify.testing import strikes

strikes.strike_as_told()

if __name__ == "__main__":
    from ramify.__main__ import main

    sys.argv[0] = "ramify"
    sys.exit(main())
