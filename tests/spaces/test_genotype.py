"""The notations of DARTS-like genotypes, and what is said about wrong ones."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from space_cases import GENOTYPES

from ramify import spaces
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
            "Genotype(",
            "print('here')",
            "Other(normal=[], reduce=[])",
            "[('skip_connect', 0)]",
            "__import__('os').system('false')",
            "x.Genotype(normal=[])",
            "1 +" * 50,
            "(" * 500,
            "\x00",
        ],
    )
    def test_anything_but_a_genotype_is_refused(self, text):
        with pytest.raises(ArchitectureError, match="neither JSON nor Genotype"):
            read_genotype(text)

    @pytest.mark.parametrize(
        "value",
        ["__import__('os').getcwd()", "range(10**9)", "range(2, 6, 1)", "range('a')", "[x for x in y]", "open", "f(2)"],
    )
    def test_nothing_is_evaluated(self, value):
        with pytest.raises(ArchitectureError, match="genotype text"):
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
        with pytest.raises(ArchitectureError, match="neither JSON nor Genotype3"):
            read_genotype(AS_PRINTED, GENOTYPE3)
        with pytest.raises(ArchitectureError, match=r"unknown keys \['DAG1'"):
            read_genotype(GRAPHS, GENOTYPE)

    @given(st.data())
    def test_truncated_texts_are_refused(self, data):
        text = write_genotype(read_genotype(GRAPHS, GENOTYPE2), style="text", form=GENOTYPE2)
        with pytest.raises(ArchitectureError):
            read_genotype(text[: data.draw(st.integers(0, len(text) - 1))], GENOTYPE2)
