"""Who holds the loop of a strategy while networks run and parameters move: its own file, and at most two others."""

import inspect
import re
import sys
from pathlib import Path

import pytest
from torch.optim.optimizer import register_optimizer_step_pre_hook

import ramify
from pages import DOCS
from small_runs import STRATEGIES, session_of

SOURCE = Path(ramify.__file__).parent
ELSEWHERE = ("ops/", "supernet/", "execution/", "data/", "parallel.py")
"""What networks are, how they run, and where batches come from: nothing of a loop."""
SEARCHED = {"CDARTS": "nasbench201", "PDARTS": "nasbench201", "NASP": "nasp", "SPOS": "nasbench201"}
NAMES = ["GDAS", "DARTS", "DARTS-second-order", "PCDARTS", "PDARTS", "SETN", "ENAS", "NASP", "ProxylessNAS",
         "ProxylessNAS-reinforced", "CDARTS", "SPOS", "FairNAS"]  # fmt: skip


def holders(own):
    """Return the files between a strategy's own and whoever asks, as the stack is now."""
    files, frame = [], sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(SOURCE):
            files.append(path.relative_to(SOURCE).as_posix())
        frame = frame.f_back
    if own not in files:
        return set()
    inside = files[: len(files) - files[::-1].index(own)]
    return {file for file in inside if not file.startswith(ELSEWHERE)}


def traced(name):
    """Return the files that hold the loop of a strategy through an epoch of it, its own first."""
    session = session_of(SEARCHED.get(name, "nasbench201"), STRATEGIES[name])
    own = Path(inspect.getfile(type(STRATEGIES[name]))).relative_to(SOURCE).as_posix()
    found, since, epochs = set(), set(), set()
    hook = register_optimizer_step_pre_hook(lambda *_: since.update(holders(own)))
    try:
        for metrics in session.run():
            network = session.supernet
            if network is not None and not hasattr(network, "traced"):
                network.traced = True
                network.register_forward_pre_hook(lambda *_: since.update(holders(own)))
            if metrics.phase == "trial":
                break
            found |= since
            since.clear()
            epochs.add(metrics.values.get("epoch"))
    finally:
        hook.remove()
    assert len(epochs) > 1, "no epoch has ended"
    return [own, *sorted(found - {own})]


@pytest.mark.parametrize("name", NAMES)
def test_a_loop_is_read_in_three_files(name):
    files = traced(name)
    assert len(files) <= 3
    row = rf"\| `{re.escape(name)}` \| {', '.join(f'`{re.escape(file)}`' for file in files)} \|"
    assert re.search(row, (DOCS / "own_loop.md").read_text()), f"docs/own_loop.md lacks {row}"


def test_files_are_short():
    lengths = {file.relative_to(SOURCE).as_posix(): len(file.read_text().splitlines()) for file in SOURCE.rglob("*.py")}
    strategies = [length for name, length in lengths.items() if name.startswith("strategies/")]
    assert max(strategies) <= 400
    assert sum(length < 200 for length in strategies) > len(strategies) / 2
    assert {name: length for name, length in lengths.items() if length > 500} == {}
