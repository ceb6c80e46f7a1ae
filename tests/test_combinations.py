"""The page on which strategy searches which space says what `compatible` says."""

import importlib.util
from pathlib import Path

import ramify
from ramify.spaces import SPACES
from ramify.strategies import STRATEGIES

PROGRAM = Path(__file__).parents[1] / "docs" / "combinations.py"


def combinations():
    spec = importlib.util.spec_from_file_location("combinations", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_the_one_that_the_program_writes():
    program = combinations()
    written = program.PAGE.read_text(encoding="utf-8")
    assert written == program.page(), "run `python docs/combinations.py`, and commit docs/combinations.md"


def test_every_registered_space_and_strategy_has_its_verdict():
    lines = [line.strip("| ").split(" | ") for line in combinations().page().splitlines() if line.startswith("|")]
    spaces, rows = [name.strip("`") for name in lines[0]], {row[0].strip("`"): row[1:] for row in lines[2:]}
    assert set(rows) == set(STRATEGIES)
    for name, kind in SPACES.items():
        column = spaces.index(name)
        for strategy, verdicts in rows.items():
            allowed = ramify.compatible(kind(), STRATEGIES[strategy])
            assert verdicts[column].startswith("yes" if allowed else "no (")


def test_refused_combinations_give_their_reason():
    program = combinations()
    refusals = {
        verdict.reason
        for space in program.searched().values()
        for strategy in STRATEGIES.values()
        if not (verdict := ramify.compatible(space, strategy))
    }
    text = program.page().lower()
    assert all(f" {reason.lower()}." in text for reason in refusals)
