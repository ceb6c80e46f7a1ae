"""The notations of DARTS-like genotypes, and what is said about wrong ones."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify import spaces
from ramify.cli import main
from ramify.errors import ArchitectureError
from ramify.spaces.genotype import (
    GENOTYPE,
    GENOTYPE2,
    GENOTYPE3,
    CellGenotype,
    form_of,
    read_genotype,
    write_genotype,
)
from space_cases import GENOTYPES

DARTS = GENOTYPES["DARTS_V2"]
AS_PRINTED = """Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
    ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5],
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0),
    ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"""


def changed(kind="normal", **replacements):
    """Return DARTS_V2 with reads replaced by position: `_3=...`; other keywords replace whole fields."""
    genotype = json.loads(json.dumps(DARTS))
    for name, value in replacements.items():
        if name.startswith("_"):
            genotype[kind][int(name[1:])] = value
        else:
            genotype[name] = value
    return genotype


class TestNotations:
    @pytest.mark.parametrize("name", GENOTYPES)
    @pytest.mark.parametrize("style", ["flat", "nested", "text"])
    def test_each_published_genotype_comes_back_from_each_style(self, name, style):
        cells = read_genotype(GENOTYPES[name])
        written = write_genotype(cells, style=style)
        assert read_genotype(written) == cells
        assert style == "text" or read_genotype(json.dumps(written, indent=2)) == cells

    @pytest.mark.parametrize("name", GENOTYPES)
    def test_flat_is_the_published_form(self, name):
        assert write_genotype(read_genotype(GENOTYPES[name])) == GENOTYPES[name]

    @pytest.mark.parametrize(
        "text",
        [
            AS_PRINTED,
            AS_PRINTED.replace("[2, 3, 4, 5]", "range(2, 6)"),
            AS_PRINTED.replace("[2, 3, 4, 5]", "list(range(2, 6))"),
            AS_PRINTED.replace("normal=", "").replace("normal_concat=", "").replace("reduce=", "reduce="),
            AS_PRINTED.replace("normal_concat=[2, 3, 4, 5],", ""),
            f"\n  {AS_PRINTED}  \n",
            json.dumps(DARTS),
            json.dumps(DARTS | {"name": "second order"}),
            json.dumps({key: value for key, value in DARTS.items() if not key.endswith("concat")}),
        ],
        ids=["printed", "range", "list", "positional", "no concat", "spaces", "json", "name", "json without concat"],
    )
    def test_spellings_of_one_genotype(self, text):
        assert read_genotype(text) == read_genotype(DARTS)

    def test_nested_lists_hold_one_list_for_each_node(self):
        nested = write_genotype(read_genotype(DARTS), style="nested")
        assert nested["normal"][2] == [["sep_conv_3x3", 1], ["skip_connect", 0]]

    def test_concat_is_sorted_and_defaults_to_all_nodes(self):
        assert read_genotype(changed(normal_concat=[5, 3]))["normal"].concat == (3, 5)
        assert read_genotype({k: DARTS[k] for k in ("normal", "reduce")})["reduce"].concat == (2, 3, 4, 5)

    def test_the_fixed_reduction_cell_has_no_nodes(self):
        assert read_genotype(GENOTYPES["GDAS_F1"])["reduce"] == CellGenotype(None, (2, 3, 4, 5))

    def test_unknown_styles_are_refused(self):
        with pytest.raises(ArchitectureError, match="unknown style 'yaml'"):
            write_genotype(read_genotype(DARTS), style="yaml")


@pytest.mark.parametrize(
    ("notation", "message"),
    [
        (3, "a genotype is a JSON object or Genotype"),
        (["normal"], "a genotype is a JSON object or Genotype"),
        ({}, r"genotype lacks \['normal', 'reduce'\]"),
        ({"normal": DARTS["normal"]}, r"genotype lacks \['reduce'\]"),
        (DARTS | {"normal_conact": [2]}, r"unknown keys \['normal_conact'\]; known:"),
        (changed(normal=[]), "normal must be a list of"),
        (changed(normal="sep_conv_3x3"), "normal must be a list of"),
        (changed(normal=DARTS["normal"][:7]), "normal lists 7 inputs; every node needs exactly two"),
        (changed(normal=[[["skip_connect", 0]] * 3, [["skip_connect", 1]]]), r"exactly two inputs, got \[3, 1\]"),
        (changed(normal=[7, 8]), "normal: 7 is neither"),
        (changed(_3=["sep_conv3x3", 1]), r"normal, node 1 \(state 3\): unknown operation 'sep_conv3x3'; did you mean"),
        (changed(_3=["none", 1]), r"normal, node 1 \(state 3\): `none` cannot be an input"),
        (changed(_1=["skip_connect", 2]), r"normal, node 0 \(state 2\): source 2 is out of range.* states 0 to 1"),
        (changed("reduce", _6=["skip_connect", -1]), r"reduce, node 3 \(state 5\): source -1 is out of range"),
        (changed(_2=["skip_connect", "0"]), r"\['skip_connect', '0'\] is not an \[operation, state\] pair"),
        (changed(_2=["skip_connect", True]), "is not an .operation, state. pair"),
        (changed(_2=["skip_connect", 0.0]), "is not an .operation, state. pair"),
        (changed(_2=["skip_connect"]), r"\['skip_connect'\] is not an \[operation, state\] pair"),
        (changed(normal_concat=[]), "normal_concat must be different states from 2 to 5, got"),
        (changed(normal_concat=[2, 2, 3]), "normal_concat must be different states"),
        (changed(reduce_concat=[1, 2]), "reduce_concat must be different states from 2 to 5"),
        (changed(reduce_concat=[6]), "reduce_concat must be different states from 2 to 5"),
        (changed(reduce_concat="all"), "reduce_concat must be a list of states"),
        (changed(normal="fixed"), "only the reduction cell can be 'fixed'"),
    ],
)
def test_what_is_wrong_is_said(notation, message):
    with pytest.raises(ArchitectureError, match=message):
        read_genotype(notation)


class TestText:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "DARTS_V2",
            "genotype",
            "Genotype",
            "print('here')",
            "Other(normal=[], reduce=[])",
            "__import__('os').system('false')",
            "1 +" * 50,
            "\x00",
        ],
    )
    def test_anything_but_a_genotype_is_refused(self, text):
        with pytest.raises(ArchitectureError, match=r"neither JSON nor Genotype|zero bytes"):
            read_genotype(text)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("Genotype(", "is cut off"),
            ("[('skip_connect', 0)]", "got list"),
            ("x.Genotype(normal=[])", "genotype lacks"),
            ("(" * 500, "nested deeper than 24"),
        ],
    )
    def test_what_resembles_one_is_told_what_is_wrong(self, text, message):
        with pytest.raises(ArchitectureError, match=message):
            read_genotype(text)

    @pytest.mark.parametrize(
        "value",
        [
            "{[]: 1}",
            "{[1]}",
            "'\\d' + x",
            "__import__('os').getcwd()",
            "range(10**9)",
            "range(2, 6, 2)",
            "range('a')",
            "[x for x in y]",
            "open",
            "f(2)",
        ],
    )
    def test_nothing_is_evaluated(self, value):
        with pytest.raises(ArchitectureError, match=r"cannot read|only range\(a, b\)"):
            read_genotype(AS_PRINTED.replace("[2, 3, 4, 5]", value))

    @given(st.data())
    def test_truncated_texts_are_refused(self, data):
        for text in (json.dumps(DARTS), AS_PRINTED):
            length = data.draw(st.integers(0, len(text) - 1))
            with pytest.raises(ArchitectureError):
                read_genotype(text[:length])

    @given(st.text(max_size=40))
    def test_any_text_is_read_or_refused(self, text):
        with pytest.raises(ArchitectureError):
            read_genotype("{" + text)
        with pytest.raises(ArchitectureError):
            read_genotype(text)

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["sep_conv_3x3", "fixed", "x"]),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["normal", "a"]), inner),
    )

    @given(json_values, st.sampled_from(["normal", "reduce", "normal_concat", "reduce_concat"]))
    def test_any_value_is_read_or_refused(self, value, key):
        try:
            cells = read_genotype(DARTS | {key: value})
        except ArchitectureError:
            return
        assert read_genotype(write_genotype(cells)) == cells


class TestEquality:
    def test_the_order_of_a_nodes_inputs_does_not_matter(self):
        pairs = zip(DARTS["normal"][1::2], DARTS["normal"][::2], strict=True)
        swapped = changed(normal=[read for pair in pairs for read in pair])
        assert swapped != DARTS
        space = spaces.DARTSCells()
        assert space.parse(swapped) == space.parse(DARTS)
        assert hash(space.parse(swapped)) == hash(space.parse(DARTS))

    def test_nor_does_the_notation(self):
        space = spaces.DARTSCells()
        arch = space.parse(DARTS)
        for style in ("flat", "nested", "text"):
            assert space.parse(space.format(arch, style=style)) == arch
        assert space.parse(AS_PRINTED) == arch

    def test_another_operation_or_source_does(self):
        space = spaces.DARTSCells()
        assert space.parse(changed(_0=["sep_conv_5x5", 0])) != space.parse(DARTS)
        assert space.parse(changed(_7=["dil_conv_3x3", 3])) != space.parse(DARTS)


GRAPHS = {
    key: [["skip_connect", 0], ["max_pool_3x3", 1], ["skip_connect", 1], ["skip_connect", 2]] for key in GENOTYPE2.cells
}


class TestForms:
    """The genotypes of H-DAS: five cells, and the graphs of three stages."""

    @pytest.mark.parametrize(
        ("notation", "form"),
        [
            (DARTS, GENOTYPE),
            (json.dumps(DARTS), GENOTYPE),
            (AS_PRINTED, GENOTYPE),
            ({"DAG2": []}, GENOTYPE2),
            ({"genotype": DARTS, "DAG": {}}, GENOTYPE2),
            ("Genotype2(DAG1=[])", GENOTYPE2),
            ({"normal1": []}, GENOTYPE3),
            (" Genotype3 (normal1=[])", GENOTYPE3),
            ("anything else", GENOTYPE),
            (None, GENOTYPE),
        ],
        ids=str,
    )
    def test_they_are_told_apart(self, notation, form):
        assert form_of(notation) is form

    @pytest.mark.parametrize("style", ["flat", "nested", "text"])
    def test_they_come_back(self, style):
        graphs = read_genotype(GRAPHS, GENOTYPE2)
        assert read_genotype(write_genotype(graphs, style=style, form=GENOTYPE2), GENOTYPE2) == graphs
        five = dict.fromkeys(GENOTYPE3.cells, DARTS["normal"])
        cells = read_genotype(five, GENOTYPE3)
        assert read_genotype(write_genotype(cells, style=style, form=GENOTYPE3), GENOTYPE3) == cells

    def test_graphs_join_their_two_latest_nodes(self):
        graphs = read_genotype(GRAPHS | {"DAG2": GRAPHS["DAG1"][:2], "DAG3_concat": [2]}, GENOTYPE2)
        assert [graph.concat for graph in graphs.values()] == [(2, 3), (2,), (2,)]

    def test_only_reduction_cells_can_be_fixed(self):
        five = dict.fromkeys(GENOTYPE3.cells, DARTS["normal"])
        assert read_genotype(five | {"reduce2": "fixed"}, GENOTYPE3)["reduce2"].nodes is None
        for form, whole, key in ((GENOTYPE3, five, "normal2"), (GENOTYPE2, GRAPHS, "DAG1")):
            with pytest.raises(ArchitectureError, match=f"{key}: only the reduction cell"):
                read_genotype(whole | {key: "fixed"}, form)

    def test_one_form_is_not_another(self):
        with pytest.raises(ArchitectureError, match=r"unknown keys \['normal'.* known: .*'normal3'"):
            read_genotype(AS_PRINTED, GENOTYPE3)
        with pytest.raises(ArchitectureError, match=r"unknown keys \['DAG1'"):
            read_genotype(GRAPHS, GENOTYPE)

    @given(st.data())
    def test_truncated_texts_are_refused(self, data):
        text = write_genotype(read_genotype(GRAPHS, GENOTYPE2), style="text", form=GENOTYPE2)
        with pytest.raises(ArchitectureError):
            read_genotype(text[: data.draw(st.integers(0, len(text) - 1))], GENOTYPE2)


RELEASED = (
    "Genotype(normal=[[('sep_conv_3x3', 0), ('sep_conv_3x3', 1)], [('sep_conv_3x3', 1), ('sep_conv_3x3', 2)], "
    "[('sep_conv_3x3', 0), ('sep_conv_3x3', 1)], [('skip_connect', 0), ('skip_connect', 2)]], "
    "normal_concat=range(2, 6), reduce=[[('sep_conv_5x5', 1), ('max_pool_3x3', 0)], [('dil_conv_5x5', 2), "
    "('skip_connect', 0)], [('sep_conv_3x3', 0), ('sep_conv_5x5', 1)], [('sep_conv_3x3', 0), ('dil_conv_5x5', 2)]], "
    "reduce_concat=range(2, 6))"
)
"""CDARTS' cell for CIFAR, as its program writes it."""

OTHER = RELEASED.replace("'dil_conv_5x5', 2)]], reduce", "'max_pool_3x3', 3)]], reduce")


def stages(*texts):
    return dict(zip("012", texts, strict=True))


class TestStages:
    """The files of CDARTS: a genotype for each of three stages, most often the same one."""

    @pytest.mark.parametrize("name", ["CDARTS_cifar", "CDARTS_imagenet", "CDARTS_imagenet_2019", "DARTS_V1", "PDARTS"])
    def test_published_cells_come_back(self, name):
        arch = spaces.DARTSCells().parse(GENOTYPES[name])
        written = spaces.DARTSCells().format(arch, style="stages")
        assert list(written) == ["0", "1", "2"] and len(set(written.values())) == 1
        assert written["0"].startswith("Genotype(normal=[[('") and "normal_concat=range(2, 6), reduce" in written["0"]
        for text in (
            written,
            json.dumps(written),
            json.loads(json.dumps(written).replace("range(2, 6)", "[2, 3, 4, 5]")),
        ):
            assert spaces.recognize(text).name == "DARTSCells"
            assert spaces.recognize(text).parse(text) == arch

    def test_a_released_file(self):
        arch = spaces.DARTSCells().parse(GENOTYPES["CDARTS_cifar"])
        assert spaces.DARTSCells().parse(stages(*[RELEASED] * 3)) == arch
        assert form_of(json.dumps(stages(*[RELEASED] * 3))) is GENOTYPE

    @pytest.mark.parametrize(
        "notation",
        [
            dict(zip(("stage0", "stage1", "stage2"), [GENOTYPES["CDARTS_cifar"]] * 3, strict=True)) | {"name": "x"},
            {"stages": [RELEASED, GENOTYPES["CDARTS_cifar"], json.dumps(GENOTYPES["CDARTS_cifar"])]},
            stages(
                RELEASED,
                RELEASED.replace("range(2, 6)", "[5, 4, 3, 2]"),
                RELEASED.replace("range(2, 6)", "list(range(2, 6))"),
            ),
        ],
        ids=["stage0", "list", "spellings"],
    )
    def test_spellings(self, notation):
        assert spaces.recognize(notation).parse(notation) == spaces.DARTSCells().parse(GENOTYPES["CDARTS_cifar"])

    def test_stages_that_differ_are_five_cells(self):
        notation = stages(RELEASED, OTHER, RELEASED)
        space = spaces.recognize(notation)
        assert space.name == "StageCells"
        arch = space.parse(notation)
        assert arch["reduce1.5"] != arch["reduce2.5"]
        assert {arch[f"normal{stage}.5"] for stage in (1, 2, 3)} == {arch["normal1.5"]}
        with pytest.raises(ArchitectureError, match="the stages have different cells"):
            spaces.DARTSCells().parse(notation)
        assert space.parse(space.format(arch, style="stages")) == arch
        assert space.parse(json.loads(json.dumps(space.format(arch)))) == arch

    def test_five_cells_of_stages_that_agree(self):
        arch = spaces.StageCells().parse(stages(*[RELEASED] * 3))
        assert arch["normal1.2"] == arch["normal2.2"] == arch["normal3.2"]

    def test_the_last_stage_has_no_reduction_cell(self):
        assert spaces.recognize(stages(RELEASED, RELEASED, OTHER)).name == "DARTSCells"
        five = spaces.StageCells().parse(stages(RELEASED, OTHER, RELEASED))
        assert spaces.StageCells().parse(stages(RELEASED, OTHER, OTHER)) == five

    def test_other_concats_and_repeated_reads_are_covered(self):
        notation = stages(*[RELEASED.replace("normal_concat=range(2, 6)", "normal_concat=[3, 5]")] * 3)
        space = spaces.recognize(notation)
        arch = space.parse(notation)
        assert "normal_concat=[3, 5], reduce" in space.format(arch, style="stages")["1"]
        assert space.parse(space.format(arch, style="stages")) == arch

    @pytest.mark.parametrize(
        ("notation", "message"),
        [
            ({"0": RELEASED, "1": RELEASED}, r"a genotype of stages has the keys \['0', '1', '2'\], got \['0', '1'\]"),
            ({**stages(*[RELEASED] * 3), "3": RELEASED}, r"has the keys \['0', '1', '2'\], got \['0', '1', '2', '3'\]"),
            ({"stages": [RELEASED]}, "`stages` must list three genotypes"),
            ({"stages": 7}, "`stages` must list three genotypes, got 7"),
            (stages(RELEASED, None, RELEASED), r"stage 2: a genotype is a JSON object or Genotype\(...\) text"),
            (stages(RELEASED, RELEASED, RELEASED[:200]), "stage 3: it is cut off"),
            (
                stages(RELEASED.replace("sep_conv_5x5", "sep_conv_9x9"), RELEASED, RELEASED),
                "stage 1: reduce, node 0 .*'sep_co",
            ),
            (
                stages(RELEASED.replace("('skip_connect', 2)]]", "('skip_connect', 5)]]"), RELEASED, RELEASED),
                "source 5 is out",
            ),
            (
                stages("__import__('os').system('touch EXECUTED')", RELEASED, RELEASED),
                "stage 1: .* is neither JSON nor",
            ),
            (
                stages(RELEASED.replace("range(2, 6)", "open('EXECUTED', 'w')"), RELEASED, RELEASED),
                "stage 1: cannot read .open",
            ),
            (stages(RELEASED.replace("range(2, 6)", "range(2, 10**9)"), RELEASED, RELEASED), "stage 1: cannot read"),
            (stages({"0": RELEASED, "1": RELEASED, "2": RELEASED}, RELEASED, RELEASED), "stage 1: .* plain genotypes"),
        ],
    )
    def test_bad_files_are_refused_in_a_line(self, notation, message, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ArchitectureError, match=message):
            spaces.recognize(notation)
        with pytest.raises(ArchitectureError):
            spaces.StageCells().parse(notation)
        (tmp_path / "file.json").write_text(json.dumps(notation))
        assert main(["describe", "file.json"]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "file.json" in err
        assert not (tmp_path / "EXECUTED").exists()

    def test_fixed_cells_cannot_be_written(self):
        space = spaces.DARTSCells(reduction="frc")
        with pytest.raises(ArchitectureError, match="the style 'stages' is for searched"):
            space.format(space.parse(GENOTYPES["GDAS_F1"]), style="stages")

    def test_the_command_line_describes_a_file(self, tmp_path, capsys):
        (tmp_path / "cifar_genotype.json").write_text(json.dumps(stages(*[RELEASED] * 3)))
        assert main(["describe", str(tmp_path / "cifar_genotype.json"), "--pictures", str(tmp_path)]) == 0
        assert "3,859,318 parameters, 590,069,376 multiply-adds" in capsys.readouterr().out
