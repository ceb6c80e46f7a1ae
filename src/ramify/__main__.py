"""`python -m ramify` is the command line, and so is `ramify`."""

import sys

from ramify import signals


def main() -> int:
    """Run the command line and return its exit code."""

    def run() -> int:
        from ramify.cli import main

        return main()

    return signals.answered(run)


if __name__ == "__main__":
    sys.exit(main())
