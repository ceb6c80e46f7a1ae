"""Tables of operators in files: what they say, and what is refused in one line."""

import json
import random

import pytest
import torch

from ramify.costs import Costs, Limits, Networks
from ramify.costs.expected import expected_cost
from ramify.costs.table import OperatorTable
from ramify.errors import RamifyError, TableError
from ramify.seeding import rng
from ramify.spaces import DARTSCells, NASBench201
from small_runs import images

SPACE = NASBench201()
OPERATIONS = {"skip_connect": 0, "nor_conv_1x1": 1.5, "nor_conv_3x3": 4, "avg_pool_3x3": 0.25}
PLAIN = {"name": "energy", "unit": "mJ", "fixed": 2, "operations": OPERATIONS}
EDGES = json.dumps(PLAIN | {"choices": {"cell": [OPERATIONS] * 6}})
CSV = "choice,edge,operation,energy (mJ)\n,,,2\n" + "".join(f",,{op},{cost}\n" for op, cost in OPERATIONS.items())


def written(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return f"file:{path}"


def costs_of(arch):
    return 2 + sum(OPERATIONS.get(str(arch[name]), 0) for name in arch)


@pytest.mark.parametrize("content", [PLAIN, CSV], ids=["json", "csv"])
def test_members_cost_what_their_operations_do(tmp_path, content):
    name = written(tmp_path / "table", content)
    table = OperatorTable.of(name)
    assert (table.name, table.unit, table.fixed) == ("energy", "mJ", 2.0)
    costs = Costs(Networks(SPACE, images(10, 3, 32, 32)), [name])
    for seed in range(5):
        arch = SPACE.sample(rng(seed))
        assert costs(arch) == {name: costs_of(arch)}
    limits = Limits(Networks(SPACE, images(10, 3, 32, 32)), {name: 9})
    scores = {"cell": SPACE.choices["cell"].mask.double() * 0}
    scores["cell"][:, SPACE.operations.index("nor_conv_3x3")] = 1.0
    scores["cell"][:, 0] = -1.0
    found = limits.derive(scores)
    assert costs_of(found) <= 9
    assert [found[name] for name in found].count("nor_conv_3x3") == 1


def test_what_is_said_of_an_edge_goes_before_what_is_said_of_all(tmp_path):
    choices = {"cell": [{"nor_conv_3x3": 100}, *[{}] * 5]}
    of_json = OperatorTable.of(written(tmp_path / "a.json", PLAIN | {"choices": choices}))
    of_csv = OperatorTable.of(written(tmp_path / "a.csv", CSV + "cell,0,nor_conv_3x3,100\n"))
    assert of_json.costs == of_csv.costs
    arch = SPACE.architecture(["nor_conv_3x3"] * 6)
    assert of_csv(SPACE, arch) == 2 + 100 + 5 * 4
    everywhere = OperatorTable.of(written(tmp_path / "b.json", PLAIN | {"choices": {"cell": {"nor_conv_3x3": 7}}}))
    assert everywhere(SPACE, arch) == 2 + 6 * 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "header must be choice,edge,operation,NAME"),
        ("{", "not valid JSON"),
        ({"unit": "mJ"}, "`name` is missing"),
        (PLAIN | {"operation": {}}, "unknown key 'operation'; did you mean 'operations'"),
        (PLAIN | {"fixed": -1}, "fixed: a cost must be 0, or a number from 1e-100 to 1e.100, got -1"),
        (PLAIN | {"fixed": 1e308}, "fixed: a cost must be 0, or a number from 1e-100 to 1e.100, got 1e.308"),
        (
            PLAIN | {"operations": {"none": 1e-320}},
            "none: a cost must be 0, or a number from 1e-100 to 1e.100, got 1e-320",
        ),
        (PLAIN | {"operations": {"none": "much"}}, "`operations.none` must be a valid number"),
        (PLAIN | {"operations": {}}, "does not say what 'skip_connect' costs on edge 0 of choice 'cell'"),
        (PLAIN | {"choices": {"cells": {}, "cel": {"none": 1}}}, "no choice 'cel'; did you mean 'cell'"),
        (PLAIN | {"choices": {"cell": {"conv": 1}}}, "'cell' has no operation 'conv'"),
        (PLAIN | {"choices": {"cell": [{}] * 6 + [{"none": 1}]}}, "'cell' has the edges 0 to 5, got 6"),
        (CSV + "a,b\n", "line 7: 2 cells where the header has 4"),
        (CSV + ",0,none,1\n", "line 7: `edge` must be a number from 0, of a choice, got '0'"),
        (CSV + "cell,0,,1\n", "line 7: `operation` is missing"),
        (CSV + "cell,0,none,x\n", "line 7: a cost must be 0, or a number .*, got x"),
        (CSV + ",,skip_connect,1\n", "line 7: says a second time what 'skip_connect' costs"),
        (CSV + "cell,0,none,nan\n", "a cost must be 0, or a number .*, got nan"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_is_wrong_is_one_line(tmp_path, content, message):
    name = written(tmp_path / "table", content)
    with pytest.raises(TableError, match=message):
        OperatorTable.of(name).check(SPACE)


@pytest.mark.parametrize("scale", [1e-99, 1e99])
def test_costs_of_any_scale_have_limits(tmp_path, scale):
    costs = {op: cost * scale for op, cost in OPERATIONS.items()}
    name = written(tmp_path / "table", {"name": "energy", "operations": costs})
    scores = {"cell": torch.tensor([0.0, 1, 2, 3, 0]).expand(6, 5)}  # none, skip_connect, 1x1, 3x3, pooling
    limits = Limits(Networks(SPACE, images(10, 3, 32, 32)), {name: 8 * scale})
    found = limits.derive(scores)
    assert sum(scores["cell"][0, SPACE.operations.index(found[each])] for each in found) == 11
    assert limits.report(found)[name]["cost"] == pytest.approx(7.5 * scale)


def test_an_operation_that_nobody_can_pay_leaves_the_others_their_digits(tmp_path):
    name = written(tmp_path / "table", PLAIN | {"operations": OPERATIONS | {"none": 1e20}})
    networks = Networks(SPACE, images(10, 3, 32, 32))
    cost = expected_cost(networks, name)
    for seed in range(20):
        arch = SPACE.sample(rng(seed))
        assert float(cost(SPACE.mix(arch))) == OperatorTable.of(name)(SPACE, arch)
    assert (cost.least, cost.most) == (2, 2 + 6e20)
    scores = {"cell": torch.tensor([0.0, 0, 1, 2, 0]).expand(6, 5)}
    limits = Limits(networks, {name: 9})
    assert limits.report(limits.derive(scores))[name]["cost"] <= 9


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(TableError, match="no such file"):
        OperatorTable.of(f"file:{tmp_path}/none.json")
    with pytest.raises(TableError, match="does not say what 'max_pool_3x3' costs"):
        OperatorTable.of(written(tmp_path / "a.json", PLAIN)).check(
            DARTSCells(nodes=1, operations=["skip_connect", "max_pool_3x3"])
        )


@pytest.mark.parametrize(
    "content", [json.dumps(PLAIN | {"choices": {"cell": [OPERATIONS] * 6}}), CSV], ids=["json", "csv"]
)
def test_damaged_files_end_in_one_line_or_are_tables(tmp_path, content):
    path, generator, refused = tmp_path / "table", random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(content.encode())
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(len(damaged))
            kind = generator.randrange(3)
            if kind == 0:
                damaged[at] = generator.randrange(256)
            elif kind == 1:
                del damaged[at : at + generator.randint(1, 20)]
            else:
                damaged[at:at] = generator.choice([b"1e999", b'"', b"{", b"[", b",", b"\n", b"-", b"\0", b"\xff"])
            damaged = damaged or bytearray(b" ")
        path.write_bytes(damaged)
        try:
            OperatorTable.of(f"file:{path}").check(SPACE)
        except RamifyError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 300
    assert refused > 100
