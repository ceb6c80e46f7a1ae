"""Pages that programs write: which strategy searches which space, as `compatible` says, and all names."""

import pytest

import ramify
from pages import program_of
from ramify.capabilities import CAPABILITIES
from ramify.spaces import SPACES, example
from ramify.strategies import STRATEGIES


@pytest.mark.parametrize("name", ["combinations", "names"])
def test_the_page_is_the_one_that_the_program_writes(name):
    program = program_of(name)
    written = program.PAGE.read_text(encoding="utf-8")
    assert written == program.page(), f"run `python docs/{name}.py`, and commit docs/{name}.md"


def test_the_table_of_capabilities_is_the_one_that_the_program_writes():
    program = program_of("names")
    written = program.OWN_CLASSES.read_text(encoding="utf-8")
    assert written == program.own_classes(), "run `python docs/names.py`, and commit docs/own_classes.md"
    assert all(f"| `{capability}` | {capability.means} |" in written for capability in CAPABILITIES)


def test_every_registered_space_and_strategy_has_its_verdict():
    lines = [
        line.strip("| ").split(" | ") for line in program_of("combinations").page().splitlines() if line.startswith("|")
    ]
    spaces, rows = [name.strip("`") for name in lines[0]], {row[0].strip("`"): row[1:] for row in lines[2:]}
    assert set(rows) == set(STRATEGIES)
    for name, kind in SPACES.items():
        column = spaces.index(name)
        for strategy, verdicts in rows.items():
            allowed = ramify.compatible(example(kind), STRATEGIES[strategy])
            assert verdicts[column].startswith("yes" if allowed else "no (")


def test_refused_combinations_give_their_reason():
    program = program_of("combinations")
    refusals = {
        verdict.reason
        for space in program.searched().values()
        for strategy in STRATEGIES.values()
        if not (verdict := ramify.compatible(space, strategy))
    }
    text = program.page().lower()
    assert all(f" {reason.lower()}." in text for reason in refusals)
