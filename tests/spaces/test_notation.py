"""Texts that stand for an architecture in the dresses in which they are found, whole, cut off and damaged."""

import json
import random
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ramify import orders, spaces
from ramify.cli import main
from ramify.errors import ArchitectureError, RamifyError
from ramify.run.sources import architecture_of
from ramify.spaces import literals, notation

DATA = Path(__file__).parents[1] / "data" / "notations"
CELL = "|avg_pool_3x3~0|+|skip_connect~0|none~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_1x1~2|"
PAIRS = "[('skip_connect', 0), ('sep_conv_3x3', 1)]"
OTHER = "[('sep_conv_5x5', 0), ('sep_conv_3x3', 1)]"
GENOTYPE = f"Genotype(normal={PAIRS}, normal_concat=[2], reduce={PAIRS}, reduce_concat=[2])"
SECOND = GENOTYPE.replace(PAIRS, OTHER, 1)
FILE = f'''from collections import namedtuple
Genotype = namedtuple("Genotype", "normal normal_concat reduce reduce_concat")
PRIMITIVES = ["none", "skip_connect"]
"""It isn't this one:
DOCUMENTED = {GENOTYPE}
"""
# COMMENTED = {GENOTYPE}
FIRST = {GENOTYPE}  # don't take this for the end of a text
SECOND = Genotype(
    normal=[
        ("sep_conv_5x5", 0),  # it's the first
        ("sep_conv_3x3", 1),
    ],
    normal_concat=range(2, 3),
    reduce={PAIRS},
    reduce_concat=[2],
)
BEST = SECOND  # an alias
'''


def arch_of(source):
    return architecture_of(source)


@pytest.fixture
def written(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


class TestPythonsDress:
    def test_what_a_search_of_autodl_projects_prints_is_what_its_file_holds(self):
        found, known = arch_of(DATA / "autodl-found.txt"), arch_of(DATA / "autodl-known.txt")
        assert found == known
        assert found["normal.5"] == (("skip_connect", 0), ("max_pool_3x3", 3))

    @pytest.mark.parametrize(
        "text",
        [
            GENOTYPE,
            f"genotypes.{GENOTYPE}",
            f"NAME = {GENOTYPE}",
            f"NAME = lib.genotypes.{GENOTYPE},",
            f"\ufeff  {GENOTYPE}\n",
            GENOTYPE.replace("0)", "np.int64(0))").replace("1)", "numpy.int32(1))"),
            GENOTYPE.replace("1)", "tensor(1, device='cuda:0'))").replace("[2]", "array([2], dtype=int64)"),
            GENOTYPE.replace("[2]", "range(2, 3)"),
            GENOTYPE.replace("[2]", "list(range(2, 3))"),
            GENOTYPE.replace("[(", "((").replace(")]", "),)"),
            GENOTYPE.replace("0)", "0, 0.148)").replace("1)", "1, np.float64(1e-05))"),
            GENOTYPE.replace("'", '"'),
            GENOTYPE.replace("'", "u'").replace("u', ", "', "),
            GENOTYPE.replace(", ", ",  # isn't it\n\t"),
            GENOTYPE[:-1] + ", connectN=None, connects=None,)",
            f"Genotype({PAIRS}, [2], {PAIRS}, [2], None, None)",
            f"({PAIRS}, [2], {PAIRS}, [2])",
            f"{{'normal': {PAIRS}, 'normal_concat': [2], 'reduce': {PAIRS}, 'reduce_concat': [2]}}",
            f"OrderedDict([('normal', {PAIRS}), ('reduce', {PAIRS})])",
            f"OrderedDict({{'normal': {PAIRS}, 'reduce': {PAIRS}}})",
            f"dict(normal={PAIRS}, reduce={PAIRS})",
            f"{{'0': {GENOTYPE}, '1': {GENOTYPE}, '2': {GENOTYPE}}}",
            f"{{'genotype': {GENOTYPE}, 'accuracy': 97.2}}",
            json.dumps({"genotype": GENOTYPE}),
            json.dumps(GENOTYPE),
        ],
    )
    def test_dresses_of_one_genotype(self, text):
        assert arch_of(text) == arch_of(GENOTYPE)

    @pytest.mark.parametrize(
        "text",
        [
            GENOTYPE.replace("('", "(‘").replace("',", "’,"),
            GENOTYPE.replace("('", "(“").replace("',", "”,"),
            GENOTYPE.replace("('", "(`"),
            GENOTYPE.replace("(", "（").replace(")", "）").replace(", ", "，"),
            GENOTYPE.replace("_", "\\_"),
            GENOTYPE.replace("_", "_\u200b").replace("nn", "n\u00adn"),
            GENOTYPE.replace("3x3", "3×3"),
            GENOTYPE.replace("'", "&#39;"),
            f"\x1b[32m{GENOTYPE}\x1b[0m",
            GENOTYPE.replace("sep_conv_3x3", "sep_conv_\n  3x3"),
            GENOTYPE.replace("skip_connect", "skip_con-\r\nnect"),
            GENOTYPE.replace(", ", "\t,\r\n").replace(")]", "),]"),
            GENOTYPE.replace("[2]", "{2}"),
            GENOTYPE.replace("[2]", "range(2, 3, 1)"),
            f"['{GENOTYPE}']".replace("('", '("').replace("',", '",'),
            json.dumps({"arch": GENOTYPE, "epoch": 3}),
        ],
    )
    def test_what_copying_makes_of_a_genotype(self, text):
        assert arch_of(text) == arch_of(GENOTYPE)

    @pytest.mark.parametrize(
        "text",
        [
            CELL.replace("+", "+\n"),
            CELL.replace("|skip", "|\n skip"),
            CELL.replace("skip_connect", "skip_\nconnect"),
            CELL.replace("~", "∼"),
            CELL.replace("|", "∣"),
            CELL.replace("~", "\\~").replace("_", "\\_"),
            json.dumps([CELL]),
            json.dumps({"arch_str": CELL, "accuracy": 93}),
        ],
    )
    def test_what_copying_makes_of_a_cell(self, text):
        assert arch_of(text) == arch_of(CELL)

    def test_a_larger_joined_state_as_numpy_prints_it(self):
        cell = "[('skip_connect', 0), ('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1)]"
        text = f"Genotype(normal={cell}, normal_concat=[2 3], reduce={cell}, reduce_concat={{2, 3}})"
        assert arch_of(text) == arch_of(text.replace("[2 3]", "[2, 3]").replace("{2, 3}", "range(2, 4)"))

    @pytest.mark.parametrize("end", range(1, len(CELL)))
    def test_no_beginning_of_a_cell_is_another_cell(self, end):
        with pytest.raises(ArchitectureError, match="cut off"):
            arch_of(CELL[:end])

    def test_what_cannot_be_read_is_told_by_its_place(self):
        with pytest.raises(ArchitectureError, match=r"cannot read '\*\)' behind 'Genotype\(normal=' in line 2"):
            arch_of("epoch 3\nGenotype(normal=*)")

    def test_a_weight_is_not_another_state(self):
        with pytest.raises(ArchitectureError, match=r"1, 'x'\] is not an \[operation, state\] pair"):
            arch_of(GENOTYPE.replace("1)", "1, 'x')"))
        with pytest.raises(ArchitectureError, match="connectN is 2"):
            arch_of(GENOTYPE[:-1] + ", connectN=2, connects=[0, 2])")

    @pytest.mark.parametrize(
        "text", ["(0, 1, 2, 3) * 5", "__import__('os')", "x.y(3)", "lambda: 0", "f'{1}'", "[1][0]"]
    )
    def test_nothing_is_evaluated(self, text):
        for whole in (text, f"NAME = {text}", GENOTYPE.replace("[2]", text)):
            with pytest.raises(ArchitectureError):
                arch_of(whole)

    def test_chains(self):
        codes = [0, 1, 2, 3] * 5
        spaced = " ".join(map(str, codes))
        for text in (spaced, spaced.replace(" ", ","), f"[{spaced}]"):
            assert spaces.recognize(text).parse(text) == spaces.ShuffleChain().parse(codes)
        for text in (codes, tuple(codes), str(codes), str(tuple(codes)), f"best = {codes}", f"np.array({codes})"):
            assert spaces.recognize(text).parse(text) == spaces.ShuffleChain().parse(codes)

    def test_what_holds_an_architecture_among_other_things(self, written):
        arch = arch_of(GENOTYPE)
        assert arch_of(written("result.json", json.dumps({"score": 1, "architecture": arch.to_dict()}))) == arch


class TestFiles:
    def test_the_last_genotype_of_a_log_is_taken_and_that_is_said(self, capsys):
        found = arch_of(DATA / "search.log")
        assert found["normal.5"] == (("sep_conv_5x5", 0), ("skip_connect", 2))
        line = f"{DATA / 'search.log'}: the last of its 2 genotypes, in line 6, is taken\n"
        assert capsys.readouterr().err == line
        assert arch_of(f"{DATA / 'search.log'}:genotype") == found

    def test_logs_of_other_programs(self, written, capsys):
        cells = f"[1/2] it's Structure(4 nodes with {CELL.replace('none', 'skip_connect')}) acc 3.2\n[2/2] {CELL}\n"
        assert arch_of(written("gdas.log", cells)) == arch_of(CELL)
        printed = "".join(f"epoch : {{'normal': {cell}, 'reduce': {PAIRS}}} 3.1 MB\n" for cell in (OTHER, PAIRS))
        assert arch_of(written("a.log", printed)) == arch_of(GENOTYPE)
        assert capsys.readouterr().err.count("the last of its 2 genotypes, in line 2, is taken") == 2

    def test_logs_of_sizes_and_chains(self, written, capsys):
        sizes = "[12:31:05] 001-th: 8:16:24:32:40 acc=70.3\n[12:31:09] 002-th: 64:16:24:32:40 acc=71.5\n"
        assert arch_of(written("size.log", sizes)) == arch_of("64:16:24:32:40") == arch_of("[64, 16, 24, 32, 40]")
        codes = [0, 1, 2, 3] * 5
        chains = f"No.1 {tuple(codes[::-1])} Top-1 err = 25.1\nNo.2 {tuple(codes)} Top-1 err = 24.9\n"
        assert arch_of(written("spos.log", chains)) == spaces.ShuffleChain().parse(codes)
        assert capsys.readouterr().err.count("the last of its 2 genotypes, in line 2, is taken") == 2

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
    def test_encodings_with_a_mark(self, tmp_path, encoding):
        (tmp_path / "a.log").write_text(f"genotype = {GENOTYPE}", encoding=encoding)
        assert arch_of(tmp_path / "a.log") == arch_of(GENOTYPE)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (GENOTYPE.encode("utf-16-le"), "zero bytes"),
            (f"30°\n{GENOTYPE}".encode("latin-1"), "line 1: not UTF-8 text"),
        ],
    )
    def test_other_encodings_are_named(self, tmp_path, content, message):
        (tmp_path / "a.log").write_bytes(content)
        with pytest.raises(ArchitectureError, match=message):
            arch_of(tmp_path / "a.log")

    @pytest.mark.parametrize(
        "text",
        [
            f"FIRST: Genotype = {GENOTYPE}\nSECOND: Genotype = {SECOND}\n",
            f"class All:\n    FIRST = {GENOTYPE}\n    SECOND = {SECOND}\n",
            f"ALL = {{\n    'FIRST': {GENOTYPE},\n    'SECOND': {SECOND},\n}}\n",
            f'FIRST = "{GENOTYPE}"\nSECOND = "{SECOND}"\n',
            f"FIRST = ({GENOTYPE})\nSECOND = ({SECOND})\n",
            f"BOTH = {{'FIRST': FIRST, 'SECOND': SECOND}}\nFIRST = {GENOTYPE}\nSECOND = {SECOND}\n",
            f"import x\nALL = {{'FIRST': {GENOTYPE}, 'SECOND': {SECOND}}}\n",
            f"ALL = OrderedDict()\nALL['FIRST'] = {GENOTYPE}\nALL['SECOND'] = {SECOND}\n",
        ],
    )
    def test_names_however_they_are_bound(self, written, text):
        file = written("genotypes.py", text)
        for source in (file, f"{file}:"):
            with pytest.raises(
                ArchitectureError, match=r"2 genotypes, of which FILE:NAME picks one: 'FIRST', 'SECOND'"
            ):
                arch_of(source)
        assert arch_of(f"{file}:FIRST") == arch_of(GENOTYPE)
        assert arch_of(f"{file}:SECOND") == arch_of(SECOND)

    def test_names_of_chains_and_structures(self, written):
        file = written("chains.py", f"import x\nA = {CODES}\nB = {BACK}\nC = D = {CODES}\nE = C\n")
        with pytest.raises(ArchitectureError, match="FILE:NAME picks one: 'A', 'B', 'D'"):
            arch_of(file)
        assert arch_of(f"{file}:A") == arch_of(f"{file}:C") == arch_of(f"{file}:D") == arch_of(CODES)
        assert arch_of(f"{file}:B") == arch_of(BACK)
        with pytest.raises(ArchitectureError, match="it holds no genotype 'X'; it holds 'A', 'B', 'D'"):
            arch_of(f"{file}:X")
        nodes = "[(('{0}', 0),), (('none', 0), ('{0}', 1)), (('{0}', 0), ('none', 1), ('{0}', 2))]"
        one, other = (f"Structure({nodes.format(op)})" for op in ("skip_connect", "nor_conv_1x1"))
        file = written("codes.py", f"class Structure(object):\n    x = 1\nA = Structure(\n {one[10:]}\nB = {other}\n")
        assert arch_of(f"{file}:A") == arch_of(one) and arch_of(f"{file}:B") == arch_of(other)

    @pytest.mark.parametrize("wrap", ["\n", "\r\n", "\n> "])
    @pytest.mark.parametrize("width", [11, 20, 79])
    def test_lines_wrapped_anywhere(self, written, wrap, width):
        lines = [SECOND[at : at + width] for at in range(0, len(SECOND), width)]
        text = f"epoch 1{wrap}genotype = {wrap.join(lines)}{wrap}epoch 2\n"
        assert arch_of(written("a.log", text)) == arch_of(SECOND)

    def test_a_word_broken_by_the_terminal(self, written):
        for at in range(GENOTYPE.index("'"), GENOTYPE.index("', ") + 1):
            text = f"genotype = {GENOTYPE[:at]}\n{GENOTYPE[at:]}"
            assert arch_of(written("a.log", text)) == arch_of(GENOTYPE)

    def test_a_library_call_takes_no_choice_by_itself(self):
        text = (DATA / "search.log").read_text()
        with pytest.raises(ArchitectureError, match="the text holds 2 genotypes; hand over the one"):
            spaces.DARTSCells().parse(text)

    def test_a_log_that_ends_in_a_genotype(self, written):
        whole = (DATA / "search.log").read_text()
        for text in (whole[: whole.rindex("reduce_concat")], f"{CELL}\n{CELL[:-9]}", f"{GENOTYPE}\n{SECOND[:30]}"):
            with pytest.raises(ArchitectureError, match="is cut off: the text ends in the middle"):
                arch_of(written("search.log", text))

    def test_names_in_a_genotypes_file(self, written, tmp_path):
        file = written("genotypes.py", FILE)
        with pytest.raises(ArchitectureError, match=r"it holds 2 genotypes, .* FILE:NAME picks one: 'FIRST', 'SECOND'"):
            arch_of(file)
        assert arch_of(f"{file}:FIRST") == arch_of(GENOTYPE)
        assert arch_of(f"{file}:SECOND") == arch_of(f"{file}:BEST") == arch_of(SECOND)
        for name in ("COMMENTED", "DOCUMENTED", "Genotype", "x"):
            with pytest.raises(ArchitectureError, match=f"{file}: it holds no genotype '{name}'; it holds 'FIRST'"):
                arch_of(f"{file}:{name}")
        assert arch_of(written("one.py", FILE.partition("SECOND =")[0])) == arch_of(GENOTYPE)
        with pytest.raises(ArchitectureError, match=r"there is no file or folder .*missing.py:FIRST"):
            arch_of(f"{tmp_path}/missing.py:FIRST")

    def test_a_genotypes_file_of_another_name_is_one(self, written):
        with pytest.raises(ArchitectureError, match="picks one: 'FIRST', 'SECOND'"):
            arch_of(written("genotypes.txt", f"FIRST = {GENOTYPE}\nSECOND = {SECOND}\n"))

    def test_reading_a_file_imports_and_runs_nothing(self, written, tmp_path):
        file = written("evil.py", f"open({str(tmp_path / 'EXECUTED')!r}, 'w')\nFIRST = {GENOTYPE}\n")
        assert arch_of(file) == arch_of(GENOTYPE)
        assert not (tmp_path / "EXECUTED").exists()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{'lr': 0.1, 'epochs': 3}", "an object with the keys 'lr', 'epochs' is no genotype"),
            (json.dumps({f"key {n}" * 9: n for n in range(99)}), "and 9[0-9] more is no genotype"),
            ("", "it is empty"),
            ("3.5", "3.5 is no|'3.5' is no"),
            ("[" * 3000, "nested deeper"),
            ('{"a":' * 3000, "nested deeper"),
            ('{"normal": [' + "9" * 5000 + "]}", "a number of 5000 digits"),
            (f'{{"normal": [["{"x" * 900}", 0]], "reduce": []}}', "unknown operation 'xxx|exactly two"),
            ("Genotype(" * 5000, "nested deeper"),
            ("-" * 100_000, "is no notation"),
            ("{'normal': " + "1" * 100_000, "."),
            ("'" * 10_001, "."),
        ],
    )
    def test_what_is_no_genotype_is_told_in_one_line_with_the_file(self, written, text, message):
        file = written("file.json", text)
        with pytest.raises(ArchitectureError, match=message) as caught:
            arch_of(file)
        assert str(file) in str(caught.value) and len(str(caught.value)) < 300 and "\n" not in str(caught.value)

    def test_files_too_large_are_not_read(self, written, monkeypatch):
        monkeypatch.setattr(notation, "MAX_CHARACTERS", 1000)
        with pytest.raises(ArchitectureError, match=r"a\.log is larger than"):
            arch_of(written("a.log", "x" * 5000))
        with pytest.raises(ArchitectureError, match="a text of 2,000 characters is too long"):
            arch_of("x" * 2000)

    def test_all_genotypes_of_a_text_share_one_budget(self, monkeypatch):
        for module in (notation, literals):
            monkeypatch.setattr(module, "MAX_TOKENS", 150)
        with pytest.raises(ArchitectureError, match="more than 150 words"):
            notation.read(f"a log\n{GENOTYPE}\n" * 9, tell=print)


CODES = [0, 1, 2, 3] * 5
BACK = CODES[::-1]
FLAT = {"normal": [["skip_connect", 0], ["sep_conv_3x3", 1]], "normal_concat": [2]}
FLAT |= {"reduce": FLAT["normal"], "reduce_concat": [2]}
STAGES = (GENOTYPE, SECOND, GENOTYPE)


def notebook(code, printed):
    shown = {"output_type": "stream", "name": "stdout", "text": [printed + "\n", "done"]}
    cell = {"cell_type": "code", "source": code.splitlines(keepends=True), "outputs": [shown], "metadata": {}}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1)


class TestRecords:
    @pytest.mark.parametrize(
        ("text", "meant"),
        [
            (json.dumps({"arch": CODES, "acc": 74.1, "depths": BACK}), CODES),
            (json.dumps({"result": {"best": {"arch": CELL}, "acc": [0.1, 0.9]}}), CELL),
            (json.dumps([{"arch": CELL, "acc": 94.3}]), CELL),
            (json.dumps({"arch": FLAT, "acc": 97}), GENOTYPE),
            (json.dumps({"config": {"cell": FLAT}, "again": {"cell": FLAT}}), GENOTYPE),
            (json.dumps({"op_indices": [0, 1, 2, 3, 4, 0], "acc": 3}), "op_indices=[0, 1, 2, 3, 4, 0]"),
            (json.dumps({"arch": "nb201:1234"}), "nb201:1234"),
            ("arch: [[0], [3, 4], [4, 1], [3, 1], [3, 5], [4, 4], [0]]\n", "[[0],[3,4],[4,1],[3,1],[3,5],[4,4],[0]]"),
            (
                "x y\narch: [[0], [3, 4], [4, 1], [3, 1], [3, 5], [4, 4], [0]]\n",
                "[[0],[3,4],[4,1],[3,1],[3,5],[4,4],[0]]",
            ),
            ("ops: 1\narch: ['k3e3', " + ", ".join(["'k5e6'"] * 20) + "]\n", json.dumps([0] + [3] * 20)),
            (json.dumps({"arch": " ".join(map(str, CODES))}), CODES),
            (f"({tuple(CODES)}, 74.3)", CODES),
            (f"('best arch:', {tuple(CODES)})", CODES),
            (f"('{CELL}', 94.3)", CELL),
            (f"({GENOTYPE}, 97.2)", GENOTYPE),
            (f"[{GENOTYPE}]", GENOTYPE),
            (f"tensor([{CODES}], device='cuda:0')", CODES),
            (f"tensor({list(map(float, CODES))}, grad_fn=<CopyBackwards>)", CODES),
            (f"[{', '.join(f'array([{code}])' for code in CODES)}]", CODES),
            (f"[{', '.join(f'tensor({code}, grad_fn=<UnbindBackward0>)' for code in CODES)}]", CODES),
            (notebook(f"from x import *\nBEST = {GENOTYPE}", "epoch 1"), GENOTYPE),
            (notebook("search()", f"Structure(4 nodes with {CELL})"), CELL),
        ],
    )
    def test_the_one_architecture_is_found_wherever_it_is(self, written, text, meant):
        assert arch_of(written("a.json", text)) == architecture_of(meant)

    @pytest.mark.parametrize("flow", [None, True])
    def test_yaml(self, written, flow):
        import yaml

        tuples_ = {key: [tuple(read) if isinstance(read, list) else read for read in FLAT[key]] for key in FLAT}
        for value in (FLAT, {"genotype": FLAT, "lr": 0.1}, tuples_):
            assert arch_of(written("a.yaml", yaml.dump(value, default_flow_style=flow))) == arch_of(GENOTYPE)
        assert arch_of(written("a.yaml", yaml.dump({"choice": CODES, "lr": 1}))) == arch_of(CODES)
        named = "!!python/object/new:__main__.Genotype\n" + yaml.dump(list(tuples_.values()))
        assert arch_of(written("a.yaml", named)) == arch_of(GENOTYPE)
        harmful = "!!python/object/apply:os.system ['true']"
        with pytest.raises(ArchitectureError, match=r"a\.yaml: "):
            arch_of(written("a.yaml", f"genotype: {harmful}\n"))

    def test_several_are_named_and_picked(self, written):
        file = written("a.json", json.dumps({"first": {"arch": CODES}, "rows": [{"arch": CELL}, {"arch": BACK}]}))
        with pytest.raises(ArchitectureError, match=r"FILE:PLACE picks one: 'first\.arch', 'rows\.0\.arch'"):
            arch_of(file)
        assert arch_of(f"{file}:first.arch") == arch_of(f"{file}:first") == arch_of(CODES)
        assert arch_of(f"{file}:rows.1.arch") == arch_of(BACK)
        with pytest.raises(ArchitectureError, match=r"it holds no genotype 'rows\.2\.arch'"):
            arch_of(f"{file}:rows.2.arch")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                json.dumps({"depths": CODES, "architectures": ["ResNet"]}),
                "keys 'depths', 'architectures' is no genotype",
            ),
            (json.dumps({"genotype": GENOTYPE, "arch": SECOND}), "holds 2 architectures, .* 'genotype', 'arch'"),
            ("lr: 0.1\nepochs: 3\n", "an object with the keys 'lr', 'epochs' is no genotype"),
            ("(dp0\nVnormal\np1\n(lp2\n", "it is a pickle, and pickles are never read"),
            ("[01/02 03:04:05] epoch 3\n[01/02 03:04:06] acc 0.3\n", "is no notation of a known space"),
            ("[]", "it is an empty list, and should hold an architecture"),
            ("[3, 4, [1, 2], 'x', [7]]", "is no genotype, and no other notation of a known space"),
        ],
    )
    def test_what_holds_none_or_many_is_told(self, written, text, message):
        with pytest.raises(ArchitectureError, match=message):
            arch_of(written("a.txt", text))

    def test_a_log_ends_in_the_middle_of_a_chain(self, written):
        for end in (", 1, 2, 3, 0, 1", ", 1, 2, 3, 0,", ", 1, 2, 3, 0"):
            with pytest.raises(ArchitectureError, match="in line 2, is cut off"):
                arch_of(written("a.log", f"No.1 {CODES}\nNo.2 [0{end}"))

    def test_numbers_of_naslib_in_a_log(self, written):
        text = "[01/01 12:00:00 trainer]: Epoch 3\n[01/01 12:00:01] op_indices: [3, 1, 0, 1, 2, 4]\n"
        assert arch_of(written("a.log", text)) == arch_of("op_indices=[3, 1, 0, 1, 2, 4]")

    def test_stages_in_a_log_are_not_the_last_of_them(self, written, capsys):
        meant = arch_of(f"{{'stages': [{', '.join(STAGES)}]}}")
        lines = [f"Stage: {number} Layer: 3    genotype = {one}" for number, one in enumerate(STAGES)]
        assert arch_of(written("a.log", f"epoch 1\n{lines[0]}\n" + "\n".join(lines))) == meant
        assert "the last genotypes of its three stages, in lines 3 to 5, are taken" in capsys.readouterr().err
        keyed = ", ".join(f"{number}: {one}" for number, one in enumerate(STAGES))
        assert arch_of(written("a.log", f"INFO genotypes {{{keyed}}}\n")) == meant
        for text in ("\n".join(lines[:2]), "\n".join([*lines, lines[0]])):
            with pytest.raises(ArchitectureError, match="its last genotypes are of stages"):
                arch_of(written("a.log", text))
        for text in (f"INFO Best Genotype = [{', '.join(STAGES)}]\n", f"[{', '.join(STAGES)}]"):
            with pytest.raises(ArchitectureError, match=r"it lists 3 genotypes; write {'stages':"):
                arch_of(written("a.log", text))

    def test_names_of_the_zoo_and_devices(self):
        with pytest.raises(ArchitectureError, match=r"'DARTS_V2' is no run folder, .*; zoo:DARTS_V2 is in the zoo"):
            arch_of("DARTS_V2")
        with pytest.raises(ArchitectureError, match="/dev/null is neither a file nor a folder"):
            arch_of("/dev/null")

    def test_lists_of_notations(self):
        assert notation.read_list(f"['{CELL}', 'nb201:3']") == [CELL, "nb201:3"]
        assert notation.read_list(f"[{CODES}, {tuple(BACK)}]") == [CODES, BACK]
        assert notation.read_list(str(CODES)) == [CODES]
        assert notation.read_list(f"Structure(4 nodes with {CELL})") == [CELL]
        two = notation.read_list(f"[{GENOTYPE}, {SECOND}]")
        assert list(map(arch_of, two)) == [arch_of(GENOTYPE), arch_of(SECOND)]
        with pytest.raises(ArchitectureError, match="cut off"):
            notation.read_list(f"['{CELL}', ")


class TestBenchmarks:
    def test_numbers_of_nas_bench_201(self):
        cells = orders.ORDERS["nasbench201"].notations()
        space = spaces.NASBench201()
        for number in (0, 9, 123, 1462, 15_624):
            assert space.format(arch_of(f"nb201:{number}")) == cells[number]
        for number in ("15625", "-1", "x", "", "9" * 50):
            with pytest.raises(ArchitectureError, match="numbers its cells from 0 to 15624"):
                arch_of(f"nb201:{number}")
        with pytest.raises(ArchitectureError, match="its own cells only"):
            spaces.NASBench201(nodes=5).parse("nb201:0")

    def test_operations_in_the_order_of_the_string(self):
        ops = [token.rpartition("~")[0] for token in CELL.replace("+", "").strip("|").replace("||", "|").split("|")]
        assert len(ops) == 6
        for text in (ops, tuple(ops), str(ops), json.dumps(ops), f"ops = {ops}"):
            assert spaces.recognize(text).parse(text) == spaces.NASBench201().parse(CELL)
        with pytest.raises(ArchitectureError, match="a cell has 6 edges, got 5 operations"):
            spaces.NASBench201().parse(ops[:5])

    def test_numbers_of_naslib_by_their_name_only(self):
        # the example that zc_combine gives for NASLib's `convert_op_indices_to_str`
        for text in ("op_indices=(4, 0, 3, 1, 4, 3)", '{"op_indices": [4, 0, 3, 1, 4, 3]}'):
            assert arch_of(text) == arch_of(CELL)
        with pytest.raises(ArchitectureError, match="count differently in NASLib and in the benchmark"):
            arch_of("(4, 0, 3, 1, 4, 3)")
        for wrong in ("[4, 0, 3, 1, 4]", "[4, 0, 3, 1, 4, 5]", "[4, 0, 3, 1, 4, None]", "(3)"):
            with pytest.raises(ArchitectureError, match="op_indices must be six numbers"):
                arch_of(f"op_indices={wrong}")

    def test_structures_of_autodl_projects(self):
        nodes = [
            [(token.split("~")[0], int(token[-1])) for token in node.strip("|").split("|")] for node in CELL.split("+")
        ]
        for text in (f"Structure(4 nodes with {CELL})", f"Structure({nodes})", str(nodes), f"arch = {CELL}"):
            assert arch_of(text) == arch_of(CELL)

    def test_tuples_and_configurations_of_nas_bench_301(self):
        reads = {
            "normal": [
                *(("max_pool_3x3", 0), ("sep_conv_5x5", 1), ("skip_connect", 0), ("skip_connect", 1)),
                *(("dil_conv_3x3", 0), ("sep_conv_3x3", 3), ("avg_pool_3x3", 2), ("dil_conv_5x5", 4)),
            ],
            "reduce": [
                *(("skip_connect", 0), ("sep_conv_3x3", 1), ("skip_connect", 0), ("max_pool_3x3", 2)),
                *(("sep_conv_3x3", 1), ("sep_conv_3x3", 2), ("avg_pool_3x3", 3), ("dil_conv_5x5", 4)),
            ],
        }
        first = "NetworkSelectorDatasetInfo:darts:"
        settings = {"OptimizerSelector:optimizer": "sgd", f"{first}init_channels": 32, f"{first}layers": 8}
        for kind, listed in reads.items():
            for place, (op, source) in enumerate(listed):
                settings[f"{first}edge_{kind}_{(0, 2, 5, 9)[place // 2] + source}"] = op
            for state in (3, 4, 5):
                sources = [str(source) for _, source in listed[2 * state - 4 : 2 * state - 2]]
                settings[f"{first}inputs_node_{kind}_{state}"] = "_".join(sources)
        whole = arch_of(f"({reads['normal']}, [2, 3, 4, 5], {reads['reduce']}, range(2, 6))")
        assert arch_of(settings) == arch_of(str(settings)) == arch_of(json.dumps(settings)) == whole
        with pytest.raises(ArchitectureError, match="the edges of state 4 say '0_3', not '0_1'"):
            arch_of(settings | {f"{first}inputs_node_normal_4": "0_1"})
        with pytest.raises(ArchitectureError, match="state 2 has 1 edges, it needs two"):
            arch_of({key: value for key, value in settings.items() if not key.endswith("edge_reduce_1")})
        with pytest.raises(ArchitectureError, match="there are edges 0 to 13, got '14'"):
            arch_of(settings | {f"{first}edge_normal_14": "skip_connect"})

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"module_adjacency": [[0, 1], [0, 0]], "module_operations": ["input", "output"]}', "NAS-Bench-101"),
            ("ModelSpec(matrix=[[0, 1], [0, 0]], ops=['input', 'output'])", "NAS-Bench-101"),
            ("(array([[0, 1], [0, 0]]), ['input', 'output'])", "NAS-Bench-101"),
            (str((((0, 1), (1, 2)) * 4,) * 2), "NASLib and BANANAS, which number operations differently"),
        ],
    )
    def test_what_cannot_be_read_is_refused_by_its_name(self, text, message):
        with pytest.raises(ArchitectureError, match=message):
            arch_of(text)


# Properties

SPACES = [
    spaces.DARTSCells(),
    spaces.DARTSCells(nodes=2),
    spaces.StageCells(),
    spaces.StageGraph(),
    spaces.CellDistribution(),
    spaces.NASBench201(),
    spaces.NATSBenchSize(),
    spaces.MobileChain(),
    spaces.FairMobileChain(),
    spaces.ShuffleChain(),
    spaces.CDARTSChain(),
]


def tuples(value):
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list | tuple) else value


def numpy_like(value):
    """Return how newer NumPy prints the numbers of a notation."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {numpy_like(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(numpy_like, value)) + ",]" if value else "[]"
    return f"np.int64({value})" if type(value) is int else repr(value)


def dresses(found):
    """Yield texts of one notation."""
    if isinstance(found, str):
        yield from (found, f"  {found}\n", json.dumps(found))
        return
    yield from (json.dumps(found), json.dumps(found, indent=2), repr(found), repr(tuples(found)), numpy_like(found))
    yield from (f"best = {found!r}", f"\ufeff{found!r},")
    if isinstance(found, dict):
        yield from (f"OrderedDict({list(found.items())!r})", f"OrderedDict({found!r})")


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SPACES), st.integers(0, 10**6))
def test_members_come_back_from_every_dress(space, seed):
    arch = space.sample(random.Random(seed))
    canonical = space.format(arch)
    for text in dresses(canonical):
        assert space.parse(text) == arch
    assert space.format(space.parse(canonical)) == canonical
    if isinstance(space, spaces.DARTSCells | spaces.StageCells | spaces.StageGraph):
        text = space.format(arch, style="text")
        for dress in (text, f"12/31 11:59:59 PM genotype = {text}", f"genotypes.{text}", f"X = {text}\n"):
            assert space.parse(dress) == arch


MUTANTS = "'\"()[]{},:=#|+~\\\n 0-9eE.\x00\ufeffNé"


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SPACES), st.integers(0, 10**6), st.data())
@example(spaces.NASBench201(), 0, None)
def test_damaged_texts_are_read_or_refused_in_a_line(space, seed, data):
    arch = space.sample(random.Random(seed))
    text = list(dresses(space.format(arch)))[seed % 3]
    if data is not None:
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(text)))
            cut = data.draw(st.integers(0, 6))
            text = text[:at] + data.draw(st.text(MUTANTS, max_size=3)) + text[at + cut :]
    for read in (spaces.recognize, space.parse):
        try:
            read(text)
        except RamifyError as error:
            assert "\n" not in str(error)


@settings(max_examples=100, deadline=None)
@given(st.text(MUTANTS + "Genotypnrmaluc_", max_size=80))
def test_any_text_is_read_or_refused(text):
    for whole in (text, f"Genotype({text}", f"{{'normal': {text}", f"X = {text}\n{GENOTYPE}"):
        for keywords in ({}, {"name": "X"}, {"python": True}, {"tell": lambda line: None}):
            with suppress(ArchitectureError):
                notation.read(whole, **keywords)


def test_the_verbs_read_alike(written, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = written("genotypes.py", FILE)
    small = ["--network.layers", "1", "--network.channels", "1", "--pictures", str(tmp_path / "pictures")]
    assert main(["describe", f"{file}:SECOND", *small]) == 0
    assert capsys.readouterr().out.splitlines()[1] == json.dumps(spaces.recognize(SECOND).format(arch_of(SECOND)))
    assert main(["describe", str(file)]) == 2
    assert capsys.readouterr().err.endswith("FILE:NAME picks one: 'FIRST', 'SECOND'\n")
    search = ["search", "--space", "StageGraph", "--space.cells", "1", "--strategy", "DARTS", "--data.subset", "1"]
    assert main([*search, "--space.cell", str(file), "--out", "run"]) == 2
    assert "FILE:NAME picks one" in capsys.readouterr().err
    assert main([*search, "--space.cell", f"{{'normal': {PAIRS}, 'reduce': ", "--out", "run"]) == 2
    assert "is cut off" in capsys.readouterr().err
    assert main(["retrain", f"{file}:nothing", "--data", "digits", "--out", "run"]) == 2
    assert "it holds no genotype 'nothing'; it holds 'FIRST', 'SECOND'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_chain_of_another_size_is_named_by_its_space(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    codes = "[2, 0, 0, 3, 1, 0, 5]"
    assert main(["describe", codes]) == main(["retrain", codes, "--data", "digits", "--out", "run"]) == 2
    line = "ramify: a list of 7 codes belongs to no known chain of the default size; name the space, as --space "
    assert capsys.readouterr().err.splitlines() == [f"{line}MobileChain --space.blocks [4,4,4,4,4,1]"] * 2
    space = ["--space", "MobileChain", "--space.blocks", "[2,1,1,1,1,1]"]
    assert main(["describe", codes, *space, "--pictures", "false"]) == 0
    assert capsys.readouterr().out.startswith("MobileChain(blocks=[2, 1, 1, 1, 1, 1])\n[2, 0, 0, 3, 1, 0, 5]\n")
    (tmp_path / "space.json").write_text('{"space": "MobileChain", "arguments": {"blocks": [2, 1, 1, 1, 1, 1]}}')
    assert main(["describe", codes, "--space", "space.json", "--pictures", "false", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["picture"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["space.json"]
    small = ["--network.channels", "4", "--network.last_channels", "8", "--network.resolution", "8"]
    data = ["--data", "digits", "--data.subset", "32", "--recipe.epochs", "1", "--recipe.batch_size", "16"]
    assert main(["retrain", codes, *space, *small, *data, "--progress", "false", "--out", "run"]) == 0
    assert arch_of(tmp_path / "run") == spaces.MobileChain((2, 1, 1, 1, 1, 1)).parse(codes)


@pytest.mark.parametrize("way", ["cell", "architecture"])
def test_options_take_pythons_dress_too(way, capsys):
    printed = f"{{'normal': {PAIRS}, 'reduce': {PAIRS}}}"
    option = f"--{'space.' if way == 'cell' else ''}{way}"
    rest = ["--strategy", "GDAS", "--space", "StageGraph"] if way == "cell" else []
    for words in ([option, printed], [f"{option}={printed}"]):
        with pytest.raises(SystemExit):
            main(["search" if way == "cell" else "retrain", *rest, *words, "--out", "run", "--print_config"])
        found = yaml.safe_load(capsys.readouterr().out)
        found = found["space"]["init_args"]["cell"] if way == "cell" else found["architecture"]
        assert architecture_of(found) == arch_of(GENOTYPE)


@pytest.mark.parametrize(
    "text", ["OrderedDict(1)", "dict(True)", "OrderedDict('ab')", "OrderedDict(1.5), ('sep_conv_3x3', 0)"]
)
def test_mappings_of_what_holds_no_pairs_are_refused(text):
    with pytest.raises(ArchitectureError, match="cannot read the arguments of"):
        literals.Reader(text).value()
    with pytest.raises(ArchitectureError):
        spaces.recognize(notation.read(text))


def test_a_word_of_many_digits_is_refused_without_trying_every_way_to_divide_it():
    """What begins like a number and is none was read in time that grew with the square of its length."""
    for word in ("9" * 20_000 + "x", "9" * 20_000 + "._", "1." + "0" * 20_000 + "e"):
        with pytest.raises(ArchitectureError):
            architecture_of(f"DARTS = {word}")
