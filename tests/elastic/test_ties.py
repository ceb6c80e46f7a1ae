import torch
from hypothesis import given
from hypothesis import strategies as st

from ramify.elastic.ties import Ties, decides, narrowed


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), max_size=30))
def test_ties_are_the_connected_parts_of_a_graph(pairs):
    ties = Ties()
    ties.fresh(20)
    groups = {label: {label} for label in range(1, 21)}
    for a, b in pairs:
        ties.tie(torch.tensor([a]), torch.tensor([b]))
        merged = groups[a] | groups[b]
        groups |= dict.fromkeys(merged, merged)
    assert ties.root[1:].tolist() == [min(groups[label]) for label in range(1, 21)]


def test_what_has_no_label_ties_nothing():
    ties = Ties()
    ties.tie(ties.fresh(3), torch.zeros(3, dtype=torch.long))
    assert ties.root.tolist() == [0, 1, 2, 3]
    assert ties.changes == 0


def test_labels_are_narrow_where_they_do_not_change():
    labels = torch.arange(3).view(1, 3, 1).expand(4, 3, 5)
    assert narrowed(labels).shape == (1, 3, 1)
    assert narrowed(labels.contiguous()).shape == (1, 3, 1)


def test_one_dimension_decides_or_none_does():
    assert decides(torch.tensor([[1, 1], [2, 2]]), 0)
    assert not decides(torch.tensor([[1, 1], [2, 2]]), 1)
    assert not any(decides(torch.tensor([[1, 2], [2, 1]]), dim) for dim in (0, 1))
