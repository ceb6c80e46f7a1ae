"""How long `ramify demo` takes: search, retraining, evaluation, export and report, in a fresh folder and process.

python benchmarks/demo.py [--json FILE]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from goals import GOALS
from machine import in_words, machine, write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="changes nothing: the job is as long as it is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "ramify", "demo", "--out", str(Path(folder, "demo"))], capture_output=True, text=True
        )
        seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr)
    accuracy = re.search(r"Test accuracy (\S+)%", done.stderr)
    goal = GOALS["the demo's job"]
    print(in_words(machine()))
    print(f"{seconds:.1f} s, {goal} {goal.verdict(seconds)}; test accuracy {accuracy and accuracy[1]} %")
    write(arguments.json, seconds=seconds, accuracy=float(accuracy[1]) if accuracy else None)


if __name__ == "__main__":
    main()
