"""Tables from CSV files, the 12-epoch table of NAS-Bench-201 above all."""

import gzip
import math
from dataclasses import replace

import numpy as np
import pytest

from ramify.benchmarks import ORDERS, Column, import_csv, open_table
from ramify.benchmarks.costs import approximate_times, query_seconds
from ramify.errors import TableError
from ramify.spaces import NASBench201
from small_tables import cells, sub_space

VALID = Column(name="valid", metric="accuracy", data="digits", split="valid", schedule=3, seeds=(0,))
CELL = cells()[0]


def write(path, rows, header="arch,valid"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


STATISTICS = {  # largest, its index, mean, standard deviation, median
    "cifar10_valid": (84.8920, 13_714, 68.8517, 12.781, 72.278),
    "cifar10_test": (89.1600, 5_374, 75.9842, 13.415, 79.620),
    "cifar100_valid": (61.3200, 10_165, 40.4596, 11.083, 42.640),
    "cifar100_test": (61.1800, 2_581, 40.4039, 11.007, 42.220),
    "imagenet16_valid": (38.6667, 2_581, 22.5440, 6.597, 23.500),
    "imagenet16_test": (38.2667, 2_581, 21.8008, 6.464, 22.767),
}
SEEDS = {"cifar10_valid": (111, 777)}


class TestTheRealTable:
    """Numbers of the 12-epoch table, worked out from it by other means."""

    def test_its_order_is_the_benchmark_s(self, real_csv):
        with gzip.open(real_csv, "rt") as file:
            rows = [line.split(",")[:2] for line in file.read().splitlines()[1:]]
        assert [int(index) for index, _ in rows] == list(range(15_625))
        assert [cell for _, cell in rows] == ORDERS["nasbench201"].notations()

    @pytest.mark.parametrize("name", STATISTICS)
    def test_every_column_is_what_it_says(self, real_table, name):
        largest, index, mean, deviation, median = STATISTICS[name]
        values = real_table.values(name)
        assert values.max() == largest and real_table.best(name) == index
        assert values.mean() == pytest.approx(mean, abs=5e-5)
        assert values.std(ddof=1) == pytest.approx(deviation, abs=5e-4)
        assert np.median(values) == pytest.approx(median, abs=5e-4)
        column = real_table.column(name)
        assert (column.schedule, column.epochs, column.seeds) == (12, (12,), SEEDS.get(name, (111,)))
        assert column.says().startswith("12 epochs, ")

    def test_equal_maxima_go_to_the_lowest_index(self, real_table):
        values = real_table.values("cifar100_valid")
        assert values[10_165] == values[13_714] == values.max()
        assert real_table.best("cifar100_valid") == 10_165

    def test_dead_cells_are_at_chance(self, real_table):
        space = NASBench201()
        dead = [
            index
            for index, cell in enumerate(real_table.notations)
            if "none~2" in cell and space.expression(space.parse(cell), none="absent") == ""
        ]
        for name, value in zip(STATISTICS, (9.712, 10.0, 1.0, 1.0, 0.8333, 0.8333), strict=True):
            assert set(real_table.values(name, dead)) == {value}

    def test_known_cells(self, real_table):
        assert real_table.value("cifar10_valid", 1835) == 33.944  # all skips
        assert real_table.value("cifar10_valid", 0) == 63.3640

    def test_costs_are_approximate_and_say_so(self, real_table):
        means = {"cifar10": 113.6, "cifar100": 221.2, "imagenet16": 669.6}
        for data, mean in means.items():
            column = real_table.column(f"{data}_valid")
            assert real_table.column(column.cost).approximate
            assert real_table.column(column.cost).says() == "12 epochs, approximate"
            assert real_table.values(column.cost).mean() == pytest.approx(mean, abs=0.05)
        exact = {0: (89.2021, 173.8160, 526.1170), 11: (153.6959,), 284: (60.8990,)}
        for index, seconds in exact.items():
            for data, known in zip(means, seconds, strict=False):
                assert real_table.seconds(f"{data}_valid", index) == pytest.approx(known, rel=0.03)
        assert real_table.seconds("cifar10_test", 0) is None

    def test_a_converted_table_is_the_same(self, real_csv, real_table, tmp_path):
        real_table.save(tmp_path / "a.table")
        found = open_table(tmp_path / "a.table")
        assert found.digest == open_table(real_csv).digest == real_table.digest
        assert np.array_equal(found.values("cifar100_test"), real_table.values("cifar100_test"))

    def test_the_same_layout_with_other_contents_is_not_taken_for_it(self, real_csv, tmp_path):
        changed = gzip.decompress(real_csv.read_bytes()).replace(b"63.3640", b"81.9827", 1)
        path = tmp_path / "nasbench201.csv"
        path.write_bytes(changed)
        with pytest.raises(
            TableError, match=r"does not say what its columns are; .* take over among cifar10_valid, cifar"
        ):
            import_csv(path)


class TestCosts:
    @pytest.mark.parametrize(
        ("train", "validation", "data", "seconds"),
        [
            (7.221093, 2.548979, "cifar10", 89.2021),
            (7.221093, 2.548979, "cifar100", 173.8160),
            (7.221093, 2.548979, "imagenet16", 526.1170),
            (12.462057, 4.151252, "cifar10", 153.6959),
            (4.875794, 2.389493, "cifar10", 60.8990),
        ],
    )
    def test_published_queries(self, train, validation, data, seconds):
        assert query_seconds(train, validation, data) == pytest.approx(seconds, abs=5e-5)

    def test_the_model_counts_operations(self):
        cell = "|none~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|nor_conv_3x3~2|"
        (train,), (validation,) = approximate_times([cell])
        assert train == pytest.approx(1.27 + 0.43 + 0.17 + 2.13 + 2 * 2.67 + 1.20)
        assert validation == pytest.approx(25_000 * (4.6e-5 + 0.96e-5 * train))


class TestOtherTables:
    def test_columns_are_described(self, tmp_path):
        rows = [f'"{cell}",{index},{90 + index / 10}' for index, cell in enumerate(cells())]
        path = write(tmp_path / "own.csv", rows, "arch,index,valid")
        table = import_csv(path, columns=[VALID])
        assert len(table) == 27 and table.covers(sub_space())
        assert table.value("valid", cells()[5]) == 90.5
        assert list(table.columns) == ["valid"]
        assert table.origin["source"] == "own.csv" and len(table.origin["sha256"]) == 64

    def test_compressed_files_other_spellings_and_gaps(self, tmp_path):
        path = tmp_path / "own.csv.gz"
        path.write_bytes(
            gzip.compress(b"arch,valid\n|none~0|+|skip_connect~1|+|skip_connect~2|,\n" + CELL.encode() + b",7\n")
        )
        table = import_csv(path, columns=[VALID])
        assert table.notations[0] == "|none~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|"
        assert math.isnan(table._values["valid"][0, 0, 0])
        assert table.value("valid", 1) == 7
        with pytest.raises(TableError, match="no value for"):
            table.value("valid", 0)

    def test_the_benchmark_s_order_is_recognized(self, tmp_path):
        cells = ORDERS["nasbench201"].notations()
        path = write(tmp_path / "own.csv", [f"{cell},10" for cell in cells])
        assert import_csv(path, columns=[VALID]).order == "nasbench201"

    @pytest.mark.parametrize(
        ("content", "columns", "message"),
        [
            ("", [VALID], "is empty"),
            ("arch,valid\n", [VALID], "has a header and no rows"),
            (
                f"arch,valid\n{CELL},1\n",
                [],
                "`ramify bench import --columns` describes those to take over among valid",
            ),
            (f"arch,acc\n{CELL},1\n", [VALID], "has no column 'valid'; known: acc, arch"),
            (
                f"cell,valid\n{CELL},1\n",
                [VALID],
                "has no column 'arch' with the architectures; rename the one that holds them, among cell",
            ),
            (f"arch,valid\n{CELL},1,2\n", [VALID], "row 2 has 3 cells where the header has 2"),
            (f"arch,valid\n{CELL},good\n", [VALID], "row 2: 'good' in column 'valid' is no number"),
            (f"arch,valid\n{CELL},1\n{CELL},2\n", [VALID], "rows 2 and 3 hold the same architecture"),
            ("arch,valid\n|conv~0|+|none~1|+|none~2|,1\n", [VALID], "row 2: .*unknown operation 'conv'"),
            ("# by me\narch,valid\n1,2\n", [VALID], "row 1 is no header of a table: it names no column 'arch' or"),
            ('[\n{"arch": 1}]', [VALID], r"is no CSV file but JSON; write it with `pandas.read_json\(FILE\).to_csv"),
            ('{"arch": 1}\n', [VALID], r"is no CSV file but JSON; write it with `pandas.read_json\(FILE, lines=True"),
            ("PAR1\x15", [VALID], r"is no CSV file but Parquet; write it with `pandas.read_parquet\(FILE\).to_csv"),
            ('"arch" "valid"\n', [VALID], "row 1: .* commas, semicolons or tabs must separate cells"),
            ("1,2\n3,4\n", [VALID], "row 1 is no header of a table: it names no column 'arch' or 'valid'"),
            (f"arch,valid\n1,{CELL},1\n", [VALID], "row 2 has 3 cells .*, and a column of row names needs a name"),
            (f"arch,valid (%)\n{CELL},1\n", [VALID], "'valid .%.'.*; a name with blanks must be changed in the file"),
            ("arch valid\n1 2\n", [VALID], "but one column 'arch valid'; commas, semicolons or tabs must separate"),
            ("arch,valid\nresnet,1\n", [VALID], "row 2: 'resnet' is no notation of a known space"),
            ("arch,valid\n\0\xff", [VALID], "own.csv"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path, content, columns, message):
        path = tmp_path / "own.csv"
        path.write_bytes(content.encode("latin-1"))
        with pytest.raises(TableError, match=message) as error:
            import_csv(path, columns=columns)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("cell", "further", "message"),
        [
            ("nan", {}, "row 4: 'nan' in column 'valid' is not finite; leave the cell empty where a value is missing"),
            ("-inf", {}, "row 4: '-inf' .* is not finite"),
            ("1e999", {}, "row 4: '1e999' .* is not finite"),
            ("1_0", {}, "row 4: '1_0' in column 'valid' is no number"),
            ("51.5%", {}, "row 4: '51.5%' .* is no number; give all accuracies and errors a percent sign, or none"),
            ("NA", {}, "row 4: 'NA' .* is no number; leave the cell empty where a value is missing"),
            ("1 234", {"metric": "seconds"}, "row 4: '1 234' .* write it without marks of thousands"),
            ('"1,234.5"', {"metric": "seconds"}, "row 4: '1,234.5' .* write it without marks of thousands"),
            ("101", {}, "row 4: 101 in column 'valid' cannot be: accuracy in percent is within 0 … 100"),
            ("-1", {}, "row 4: -1 in column 'valid' cannot be"),
            ("51.5", {"unit": "fraction"}, "row 4: 51.5 .* accuracy in fraction is within 0 … 1; is its unit percent"),
            ("101", {"metric": "error"}, "row 4: 101 .* error in percent is within 0 … 100"),
            ("-1", {"metric": "seconds"}, "row 4: -1 .* seconds is 0 or more, and finite"),
            ("-1", {"metric": "loss"}, "row 4: -1 .* loss is 0 or more"),
            (
                '"1,234"',
                {"metric": "seconds"},
                "row 4: '1,234' .* may be of thousands or not; write 1234, or one digit more: 1,2340",
            ),
            ('"1,5"', {}, "row 4: '1,5' .* has a decimal comma where other rows have a decimal point"),
            ('"51.5', {}, "row 4: unexpected end of data; is a quote not closed"),
        ],
    )
    def test_values_are_checked_with_the_row_s_number(self, tmp_path, cell, further, message):
        first = (
            "0.5" if cell == '"1,5"' or "unit" in further or "seconds" in further.values() else "50"
        )  # blank rows count, as in a spreadsheet
        first = "" if cell == '"1,234"' else first
        path = write(tmp_path / "own.csv", [f"{cells()[1]},{first}", ",", f"{CELL},{cell}"])
        described = Column(
            **{name: getattr(VALID, name) for name in ("name", "metric", "data", "split")} | {"schedule": 3} | further
        )
        with pytest.raises(TableError, match=message) as error:
            import_csv(path, columns=[described])
        assert "\n" not in str(error.value)

    def test_no_unit_is_assumed(self, tmp_path):
        path = write(tmp_path / "own.csv", [f"{CELL},1", f"{cells()[1]},0.81"])
        with pytest.raises(TableError, match="'valid': all values are at most 1: say unit percent or fraction"):
            import_csv(path, columns=[VALID])
        for unit, value in (("percent", 0.0081), ("fraction", 0.81)):
            table = import_csv(path, columns=[replace(VALID, unit=unit)])
            assert table.column("valid").score(table.value("valid", 1)) == pytest.approx(value)
        write(path, [f"{CELL},", f"{cells()[1]},"])
        with pytest.raises(TableError, match="column 'valid' has no value in any row"):
            import_csv(path, columns=[VALID])

    @pytest.mark.parametrize(
        ("text", "encoding"),
        [
            ("arch,valid\n{a},51.5\n{b},\n", "utf-8-sig"),
            ("arch;valid\r\n{a};51,5\r\n{b};\r\n", "utf-8-sig"),
            ("sep=;\r\narch;valid\r\n{a};51,5\r\n{b};\r\n", "utf-8"),
            ("arch\tvalid\r\n{a}\t51,5\r\n{b}\t\r\n", "utf-16"),
            ('note;valid;arch\n"a;b";51.5;{a}\n"""";"";{b}\n;;\n', "utf-8"),
            ('arch, valid\n"{a}", "51,5"\n"{b}", \n', "utf-8"),
            ("arch;valid\n{a};51,5 %\n{b};\n", "utf-8"),
            ("arch,valid\n{a},51.5,\n{b},,,\n", "utf-8"),
            ("arch,valid\r{a},51.5\r{b},\r", "utf-8"),
        ],
    )
    def test_what_spreadsheets_write(self, tmp_path, text, encoding):
        path = tmp_path / "own.csv"
        path.write_bytes(text.format(a=CELL, b=cells()[1]).encode(encoding))
        table = import_csv(path, columns=[VALID])
        assert table.notations == [CELL, cells()[1]]
        assert table.value("valid", 0) == 51.5 == table.value("valid", table.best("valid"))
        with pytest.raises(TableError, match="no value"):
            table.value("valid", 1)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"PK\x03\x04rest", "no CSV file but a workbook or an archive; save the sheet as 'CSV UTF-8'"),
            ("arch,valid\n".encode("utf-16-le"), "it holds zero bytes"),
            ("arch,valid\nä,1\n".encode("latin-1"), "row 2: this is no UTF-8 text"),
            (b"arch,valid,valid\na,1,2\n", "row 1: two columns are called 'valid'"),
            (b"arch,valid\n[0, 1, 2],5\n", "row 2 has 4 cells where the header has 2; a cell with commas in it needs"),
            (b"arch,valid\n,5\n", "row 2 names no architecture"),
            (b'arch,valid\n"' + b"[" * 50_000 + b'",5\n', "row 2: brackets are nested deeper"),
        ],
    )
    def test_what_is_no_table_is_refused_by_name(self, tmp_path, content, message):
        (tmp_path / "own.csv").write_bytes(content)
        with pytest.raises(TableError, match=message) as error:
            import_csv(tmp_path / "own.csv", columns=[VALID])
        assert len(str(error.value)) - len(str(tmp_path)) < 300

    def test_percent_signs_are_percent(self, tmp_path):
        path = write(tmp_path / "own.csv", [f"{CELL},0.9%", f"{cells()[1]},0.8%"])
        table = import_csv(path, columns=[VALID])
        assert (table.column("valid").unit, table.value("valid", 0)) == ("percent", 0.9)
        with pytest.raises(
            TableError, match=r"row 2: '0.9%' .* has a percent sign, and the unit is said to be fraction"
        ):
            import_csv(path, columns=[replace(VALID, unit="fraction")])

    def test_a_column_that_is_mostly_at_most_one_has_no_unit(self, tmp_path):
        path = write(
            tmp_path / "own.csv", [f"{cell},{n or 50}" for n, cell in zip((0, 0.7, 0.8), cells(), strict=False)]
        )
        with pytest.raises(TableError, match="row 3: column 'valid': 2 values are at most 1, where others are"):
            import_csv(path, columns=[VALID])

    @pytest.mark.parametrize(
        ("values", "unit"),
        [
            ([0.5, 52, 53], None),  # a fraction among percents
            ([0.51, 0.52, 52, 53], None),
            ([0.8333, 0.8333, 36.2, 38.6667], "percent"),  # dead networks at chance
            ([1, 2, 3, 4, 5], "percent"),
            ([0, 52, 53], "percent"),
        ],
    )
    def test_fractions_among_percents_are_not_taken_for_percents(self, tmp_path, values, unit):
        path = write(tmp_path / "own.csv", [f"{cell},{value}" for cell, value in zip(cells(), values, strict=False)])
        if unit:
            assert import_csv(path, columns=[VALID]).column("valid").unit == unit
        else:
            with pytest.raises(TableError, match=r"row 2: column 'valid': . values? (is|are) at most 1, where others"):
                import_csv(path, columns=[VALID])
            table = import_csv(path, columns=[replace(VALID, unit="percent")])  # what the message asks for
            assert table.value("valid", 0) == values[0]

    @pytest.mark.parametrize("valid", ["51,5", "51"])
    def test_points_that_may_be_marks_of_thousands(self, tmp_path, valid):
        seconds = replace(VALID, name="time", metric="seconds", unit="")
        path = tmp_path / "own.csv"

        def write_times(first, second):
            return write(path, [f"{CELL};{valid};{first}", f"{cells()[1]};60;{second}"], "arch;valid;time")

        for mark in ".,":
            write_times(f"1{mark}234", f"1{mark}500")
            message = f"row 2: '1{mark}234' in column 'time' may be of thousands or not; write 1234, or .* 1{mark}2340"
            with pytest.raises(TableError, match=message):
                import_csv(path, columns=[VALID, seconds])
            for written, meant in ((f"1{mark}2340", 1.234), ("1234", 1234)):  # what the message asks for
                write_times(written, written)
                assert import_csv(path, columns=[VALID, seconds]).value("time", 0) == meant

    def test_rows_that_say_the_same_are_one(self, tmp_path):
        rows = [f"{CELL},51", f"{cells()[1]},", f"{CELL},51.0", f"{cells()[1]},", f"{cells()[2]},53"]
        table = import_csv(write(tmp_path / "own.csv", rows), columns=[VALID])
        assert table.notations == cells()[:3]
        assert (table.value("valid", 0), table.value("valid", 2)) == (51, 53)
        path = write(tmp_path / "own.csv", [*rows, f"{cells()[2]},54"])
        with pytest.raises(TableError, match=r"rows 6 and 7 hold .* 'valid'; keep one row of each, of several seeds"):
            import_csv(path, columns=[VALID])

    def test_lists_of_codes(self, tmp_path):
        codes = [0, 1, 2, 3] * 5
        path = write(tmp_path / "own.csv", [f'"{codes}",51.5', f'"{[3, *codes[1:]]}",52.5'])
        table = import_csv(path, columns=[VALID])
        assert table.space.name == "ShuffleChain" and table.space.format(table.architecture(0)) == codes

    def test_a_file_that_grows_without_end_is_not_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr("ramify.delimited.LARGEST", 1 << 20)
        path = tmp_path / "own.csv.gz"
        path.write_bytes(gzip.compress(b"arch,valid\n" * 200_000))
        with pytest.raises(TableError, match="holds more than 1 MiB of text"):
            import_csv(path, columns=[VALID])

    def test_curves_do_not_fit_into_a_cell(self, tmp_path):
        path = write(tmp_path / "own.csv", [f"{CELL},1"])
        curve = Column(name="valid", metric="accuracy", data="d", split="s", schedule=3, epochs=(1, 3))
        with pytest.raises(TableError, match="must describe one epoch, and one seed or a mean"):
            import_csv(path, columns=[curve])

    def test_damaged_archives(self, tmp_path):
        path = tmp_path / "own.csv.gz"
        whole = gzip.compress(b"arch,valid\n" * 100)
        for content in (whole[:-10], whole[:12] + b"\xff" + whole[13:]):
            path.write_bytes(content)
            with pytest.raises(TableError, match=r"own.csv.gz is damaged or truncated"):
                import_csv(path, columns=[VALID])
        with pytest.raises(TableError, match="there is no file"):
            import_csv(tmp_path / "none.csv")
