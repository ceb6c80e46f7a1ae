"""Looking values up: by index, notation and architecture, one by one and in batches."""

import hashlib
import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from ramify.benchmarks import ORDERS, Column, Table, open_table
from ramify.errors import ArchitectureError, TableError
from ramify.spaces import DARTSCells, NASBench201
from small_tables import SPACE, cells, columns, small, sub_space, values


class TestLookUp:
    def test_by_index_notation_and_architecture(self, small_table):
        assert len(small_table) == 27
        for index, cell in enumerate(cells()):
            arch = SPACE.parse(cell)
            assert small_table.index(cell) == small_table.index(arch) == small_table.index(index) == index
            assert small_table.architecture(index) == arch
            assert small_table.value("valid", cell) == small_table.value("valid", arch) == 30 + index
            assert small_table.value("valid", index) == small_table.value("valid", np.int64(index)) == 30 + index

    def test_other_spellings_are_found(self, small_table):
        spelling = "nor_conv_1x1~0+nor_conv_1x1~1|nor_conv_1x1~0+skip_connect~2"
        assert small_table.value("valid", spelling) == 31

    def test_in_batches(self, small_table):
        rng = random.Random(0)
        indices = [rng.randrange(27) for _ in range(100)]
        assert small_table.values("valid", indices).tolist() == [30 + index for index in indices]
        assert small_table.indices([cells()[index] for index in indices]).tolist() == indices
        mixed = [SPACE.parse(cells()[3]), 4, cells()[5]]
        assert small_table.indices(mixed).tolist() == [3, 4, 5]
        assert small_table.values("valid").tolist() == [30 + index for index in range(27)]
        assert small_table.values("valid", []).tolist() == []

    def test_epochs_and_seeds_are_chosen_by_name(self, small_table):
        assert small_table.value("valid", 4, epochs=1) == 14
        assert small_table.value("valid", 4, epochs=3) == small_table.value("valid", 4) == 34
        assert small_table.value("valid", 4, seed=5) == 33
        assert small_table.value("valid", 4, seed=7, epochs=1) == 15
        assert small_table.values("valid", [4, 5], seed=5, epochs=1).tolist() == [13, 14]

    def test_the_cost_of_a_value(self, small_table):
        assert small_table.seconds("valid", 4) == 6
        assert small_table.seconds("valid", 4, epochs=1) == 2
        assert small_table.seconds("valid_loss", 4) is None

    def test_the_best_is_the_first_of_equals(self):
        column = Column(name="a", metric="accuracy", data="d", split="s", schedule=1)
        loss = Column(name="l", metric="loss", data="d", split="s", schedule=1)
        flat = {"a": [1.0, 3.0, 3.0], "l": [2.0, 0.5, 0.5]}
        table = Table({"space": "NASBench201"}, cells()[:3], [column, loss], flat)
        assert table.best("a") == table.best("l") == 1

    def test_results_cannot_be_written_into(self, small_table):
        with pytest.raises(ValueError, match="read-only"):
            small_table.values("valid")[0] = 99.0

    @pytest.mark.parametrize(
        ("ask", "message"),
        [
            (
                lambda t: t.value("vald", 0),
                r"no column 'vald'; it has valid \(3 epochs, mean of seeds 5 and 7\), valid_loss \(3 epochs, mean of",
            ),
            (lambda t: t.value("valid", 27), "27 architectures, numbered from 0, and no number 27"),
            (lambda t: t.value("valid", -1), "no number -1"),
            (lambda t: t.values("valid", [0, 27]), "indices must be in 0 … 26, got 0 … 27"),
            (lambda t: t.values("valid", cells()), "indices must be whole numbers, got <U"),
            (lambda t: t.values("valid", [-1]), "indices must be in 0 … 26, got -1 … -1"),
            (lambda t: t.value("valid", 0, epochs=2), "no values after epoch 2; it has those of 1, 3"),
            (lambda t: t.value("valid", 0, seed=6), "no seed 6; it has 5, 7"),
            (lambda t: t.value("valid_loss", 0, seed=5), "the mean over seeds 5, 7, not each of them"),
            (lambda t: t.value("valid_seconds", 0, seed=5), "no seed 5; it has unknown ones"),
            (lambda t: t.value("valid", "+".join(["|none~0|"] * 3)), "is not among the 27 architectures of the table"),
            (lambda t: t.value("valid", DARTSCells().sample(random.Random(0))), "is of NASBench201.., not of DARTS"),
            (
                lambda t: t.value("valid", NASBench201(nodes=5).sample(random.Random(0))),
                r"the table is of NASBench201\(\), not of NASBench201\(nodes=5\)",
            ),
        ],
    )
    def test_what_is_not_there_is_said(self, small_table, ask, message):
        with pytest.raises(TableError, match=message) as error:
            ask(small_table)
        assert "\n" not in str(error.value)

    def test_no_notation_at_all(self, small_table):
        with pytest.raises(ArchitectureError, match="has 1 nodes"):
            small_table.value("valid", "resnet")

    def test_missing_values_are_never_averaged_away(self):
        data = values()
        data["valid"][1, 1, 3] = np.nan
        table = Table({"space": "NASBench201"}, cells(), columns(), data)
        assert table.value("valid", 3, seed=5) == 32
        with pytest.raises(TableError, match=r"'valid' has no value for '.nor_conv_1x1~0"):
            table.value("valid", 3)
        with pytest.raises(TableError, match="lacks 1 of the 27 values"):
            table.values("valid")
        assert table.best("valid") == 26 and table.best("valid", epochs=1) == 26
        assert table.measured("valid", SPACE) == table.measured("valid", sub_space()) == 26
        assert table.measured("valid", SPACE, seed=5) == 27
        assert table.values("valid", [2, 4]).tolist() == [32, 34]


class TestCover:
    def test_which_spaces_can_be_searched_on_it(self, small_table):
        assert small_table.covers(sub_space())
        assert not small_table.covers(SPACE)
        mask = SPACE.choices["cell"].mask.clone()
        mask[:, 1:] = False
        assert not small_table.covers(SPACE.restrict({"cell": mask}))
        with pytest.raises(TableError, match="not of DARTSCells"):
            small_table.covers(DARTSCells())

    def test_a_table_of_all_members_covers_every_part(self):
        column = Column(name="a", metric="accuracy", unit="percent", data="d", split="s", schedule=1)
        table = Table({"space": "NASBench201"}, "nasbench201", [column], {"a": np.zeros(15_625)})
        assert table.covers(SPACE) and table.covers(sub_space())
        assert (table.measured("a", SPACE), table.measured("a", sub_space())) == (15_625, 27)


class TestOrders:
    def test_the_benchmark_s_own_index(self):
        cells = ORDERS["nasbench201"].notations()
        assert len(set(cells)) == ORDERS["nasbench201"].size == 15_625
        known = {
            0: "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
            9: "|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|",
            123: "|avg_pool_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|",
        }
        assert {index: cells[index] for index in known} == known
        everywhere = {1835: "skip_connect", 7581: "avg_pool_3x3", 1651: "none", 4317: "nor_conv_1x1"}
        assert all(cells[index].count(f"|{op}~") == 6 for index, op in everywhere.items())

    def test_sizes_are_in_lexicographic_order(self):
        sizes = ORDERS["nats-size"].notations()
        assert len(set(sizes)) == ORDERS["nats-size"].size == 32_768
        assert (sizes[0], sizes[12], sizes[-1]) == ("8:8:8:8:8", "8:8:8:16:40", "64:64:64:64:64")
        assert sizes == sorted(sizes, key=lambda text: [int(width) for width in text.split(":")])

    def test_an_order_belongs_to_its_space(self):
        column = Column(name="a", metric="accuracy", data="d", split="s", schedule=1)
        for space in ({"space": "DARTSCells"}, {"space": "NASBench201", "arguments": {"nodes": 5}}):
            with pytest.raises(TableError, match="has no order 'nasbench201'"):
                Table(space, "nasbench201", [column], {"a": np.zeros(15_625)})


class TestMaking:
    def test_columns_must_fit(self):
        column = Column(name="a", metric="accuracy", data="d", split="s", schedule=2, epochs=(1, 2))
        with pytest.raises(TableError, match=r"'a' needs values of shape \(1, 2, 3\), got \(3,\)"):
            Table({"space": "NASBench201"}, cells()[:3], [column], {"a": [1, 2, 3]})
        with pytest.raises(TableError, match="two columns are called 'a'"):
            Table({"space": "NASBench201"}, cells()[:1], [column, column], {"a": [[[1], [2]]]})
        with pytest.raises(TableError, match="lists every architecture once"):
            Table({"space": "NASBench201"}, cells()[:1] * 2, [column], {"a": np.zeros((1, 2, 2))})
        costly = Column(name="b", metric="accuracy", data="d", split="s", schedule=1, cost="a")
        with pytest.raises(TableError, match="'b' names 'a' as its cost, which is no column of seconds"):
            Table({"space": "NASBench201"}, cells()[:1], [costly], {"b": [10.0]})

    @pytest.mark.parametrize(
        ("further", "value", "message"),
        [
            ({}, 0.9, "all values are at most 1: say unit percent or fraction of this accuracy"),
            ({"metric": "error"}, 0.9, "say unit percent or fraction of this error"),
            ({}, 100.1, r"accuracy in percent is within 0 … 100$"),
            ({"unit": "fraction"}, 90, r"accuracy in fraction is within 0 … 1; is its unit percent\?"),
            ({"metric": "error", "unit": "fraction"}, -0.1, r"error in fraction is within 0 … 1$"),
            ({"metric": "loss"}, -0.1, "-0.1 in column 'a' cannot be: loss is 0 or more, and finite"),
            ({"metric": "loss"}, np.inf, "inf in column 'a' cannot be: loss"),
            ({"metric": "seconds"}, -1, "seconds is 0 or more"),
        ],
    )
    def test_values_are_what_the_column_says(self, further, value, message):
        column = Column(**{"name": "a", "metric": "accuracy", "data": "d", "split": "s", "schedule": 1} | further)
        with pytest.raises(TableError, match=message):
            Table({"space": "NASBench201"}, cells()[:2], [column], {"a": [np.nan, value]})

    def test_it_says_what_it_is(self, small_table):
        about = json.loads(json.dumps(small_table.about()))
        assert about["space"] == "NASBench201" and about["architectures"] == 27
        assert about["columns"]["valid"]["says"] == "3 epochs, mean of seeds 5 and 7"
        assert about["columns"]["valid"]["unit"] == "percent"
        assert about["origin"] == {"source": "made up"}
        assert about["sha256"] == small_table.digest
        assert repr(small_table) == "Table(NASBench201(): 27 × valid, valid_loss, valid_seconds)"


class TestFiles:
    def test_a_saved_table_is_the_same(self, small_table, tmp_path):
        small_table.save(tmp_path / "a.table")
        found = Table.open(tmp_path / "a.table")
        assert found.about() == small_table.about()
        assert found.notations == small_table.notations
        for column in columns():
            for epochs in column.epochs:
                for seed in (None, *(column.seeds if column.per_seed else ())):
                    one, other = (t.values(column.name, epochs=epochs, seed=seed) for t in (found, small_table))
                    assert np.array_equal(one, other)
        found.save(tmp_path / "b.table")
        assert (tmp_path / "a.table").read_bytes() == (tmp_path / "b.table").read_bytes()

    def test_spaces_whose_notation_is_no_text(self, tmp_path):
        space = DARTSCells(nodes=2)
        members = [space.sample(random.Random(seed)) for seed in range(5)]
        column = Column(name="a", metric="accuracy", data="d", split="s", schedule=1)
        texts = [json.dumps(space.format(arch), sort_keys=True, separators=(",", ":")) for arch in members]
        Table(space.to_dict(), texts, [column], {"a": np.arange(5.0)}).save(tmp_path / "a.table")
        table = Table.open(tmp_path / "a.table")
        assert [table.value("a", arch) for arch in members] == [0, 1, 2, 3, 4]
        assert [table.architecture(index) for index in range(5)] == members
        assert table.value("a", json.dumps(space.format(members[3]), indent=2)) == 3
        with pytest.raises(ArchitectureError, match="is cut off"):
            table.index('{"normal": ')

    @pytest.mark.parametrize("at", [20, 40, 300, 1024, -40, -1])
    def test_a_single_changed_bit_is_found(self, small_table, tmp_path, at):
        path = tmp_path / "a.table"
        small_table.save(path)
        content = bytearray(path.read_bytes())
        content[at] ^= 4
        path.write_bytes(content)
        with pytest.raises(TableError, match=r"a.table (is damaged or truncated|is a table of version)"):
            Table.open(path)

    @pytest.mark.parametrize("size", [0, 1, 10, 15, 30, 500, -1, -32])
    def test_a_truncated_file_is_found(self, small_table, tmp_path, size):
        path = tmp_path / "a.table"
        small_table.save(path)
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(TableError, match=r"a.table (is damaged or truncated|is no table|is a table of version)"):
            Table.open(path)

    def test_a_file_that_says_nonsense_under_a_right_checksum(self, small_table, tmp_path):
        path = tmp_path / "a.table"
        small_table.save(path)
        content = path.read_bytes()[:-32]
        for old, new in (
            (b'"accuracy"', b'"acuracyy"'),
            (b'"<f8"', b'"<i8"'),
            (b'"shape":[2,2,27]', b'"shape":[2,2,99]'),
            (b'"columns"', b'"colunms"'),
            (b'"schedule":3', b'"schedule":0'),
        ):
            assert content.count(old) >= 1
            broken = content.replace(old, new)
            path.write_bytes(broken + hashlib.sha256(broken).digest())
            with pytest.raises(TableError, match=r"a.table does not (have|hold)") as error:
                Table.open(path)
            assert "\n" not in str(error.value)

    def test_other_files_and_versions(self, small_table, tmp_path):
        path = tmp_path / "a.table"
        with pytest.raises(TableError, match="there is no table"):
            Table.open(path)
        with pytest.raises(TableError, match="cannot be read: Is a directory"):
            Table.open(tmp_path)
        path.write_text("arch,valid\n")
        with pytest.raises(TableError, match="is no table; `ramify bench import` makes one"):
            Table.open(path)
        small_table.save(path)
        path.write_bytes(path.read_bytes().replace(b"RAMIFY-TABLE 1\n", b"RAMIFY-TABLE 2\n"))
        with pytest.raises(TableError, match="is a table of version '2', this release reads version 1"):
            Table.open(path)

    def test_a_pipe_is_no_table(self, tmp_path):
        os.mkfifo(tmp_path / "a.table")
        for opened in (Table.open, open_table):
            with pytest.raises(TableError, match="is no table"):
                opened(tmp_path / "a.table")

    def test_a_file_is_read_once_until_it_changes(self, small_table, tmp_path):
        path = tmp_path / "a.table"
        small_table.save(path)
        first = open_table(path)
        assert open_table(str(path)) is first
        Table({"space": "NASBench201"}, cells()[:1], columns()[2:], {"valid_seconds": [[[1.0], [2.0]]]}).save(path)
        assert len(open_table(path)) == 1

    def test_queries_need_no_pytorch(self, small_table, tmp_path):
        small_table.save(tmp_path / "a.table")
        program = (
            "import sys; from ramify.benchmarks import open_table; t = open_table('a.table'); "
            f"assert t.value('valid', 3) == t.value('valid', {cells()[3]!r}) == 33; "
            "heavy = {'torch', 'pandas', 'jsonargparse', 'yaml'} & set(sys.modules); assert not heavy, heavy"
        )
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


def test_equal_tables_have_equal_digests(small_table):
    assert small_table.digest == small().digest
    other = Table({"space": "NASBench201"}, cells(), columns(), values() | {"valid_loss": np.zeros(27)})
    assert other.digest != small_table.digest
