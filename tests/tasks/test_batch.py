"""Batches of nested tensors: divided, picked from and moved without a loss, whatever their form."""

from collections import namedtuple

import torch
from hypothesis import given
from hypothesis import strategies as st

from ramify.tasks import Batch
from ramify.tasks.batch import mapped, tensors

Pair = namedtuple("Pair", "image, mask")
LEAVES = ("whole", "real", "boolean", None, "a word", 3)


def nested():
    """Return nestings of the names of tensors, and of what is no tensor."""
    leaves = st.sampled_from(LEAVES)
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.tuples(inner, inner),
            st.builds(Pair, inner, inner),
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        ),
        max_leaves=6,
    )


def filled(form, count):
    """Return a nesting with tensors in the place of their names, each of another width."""
    made = 0

    def tensor(name):
        nonlocal made
        made += 1
        values = torch.arange(made * count).reshape(count, made)
        return {"whole": values, "real": values / 7, "boolean": values % 2 == 0}[name]

    def fill(form):
        if form in ("whole", "real", "boolean"):
            return tensor(form)
        if isinstance(form, dict):
            return {name: fill(value) for name, value in form.items()}
        if isinstance(form, Pair):
            return Pair(fill(form.image), fill(form.mask))
        return type(form)(map(fill, form)) if isinstance(form, list | tuple) else form

    return fill(form)


@st.composite
def batches(draw):
    count = draw(st.integers(1, 9))
    return Batch(filled([draw(nested()), "whole"], count), filled(draw(nested()), count))


def alike(a, b):
    """Return whether two nestings have the same forms and the same values, of the same types."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(alike(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    return a == b


def same(one, other):
    return alike(one.inputs, other.inputs) and alike(one.targets, other.targets)


def values_of(batch):
    return [*tensors(batch.inputs), *tensors(batch.targets)]


@given(batches())
def test_a_batch_is_as_long_as_its_inputs_and_unpacks(batch):
    inputs, targets = batch
    assert inputs is batch.inputs and targets is batch.targets
    assert {len(values) for values in values_of(batch)} == {len(batch)}


@given(batches(), st.integers(1, 12))
def test_parts_are_the_batch_in_order_and_alike_in_length(batch, count):
    parts = batch.parts(count)
    assert len(parts) == count
    sizes = [len(part) for part in parts]
    assert sizes == [len(part) for part in torch.arange(len(batch)).tensor_split(count)]
    assert max(sizes) - min(sizes) <= 1
    together = [torch.cat(values) for values in zip(*map(values_of, parts), strict=True)]
    assert all(map(alike, together, values_of(batch)))
    assert all(same(part, batch.taken(slice(len(part)))) for part in parts[:1])  # the form is that of the whole


@given(batches(), st.data())
def test_the_items_that_are_taken_are_those_of_the_index(batch, data):
    chosen = data.draw(st.lists(st.integers(0, len(batch) - 1), min_size=1, max_size=12))
    taken = batch.taken(torch.tensor(chosen))
    assert len(taken) == len(chosen)
    for found, values in zip(values_of(taken), values_of(batch), strict=True):
        assert alike(found, torch.stack([values[number] for number in chosen]))
    first, last = sorted(data.draw(st.tuples(st.integers(0, 9), st.integers(0, 9))))
    inside = [number for number in range(first, last) if number < len(batch)]
    assert same(batch.taken(slice(first, last)), batch.taken(torch.tensor(inside, dtype=torch.int64)))


@given(batches())
def test_moving_changes_the_precision_of_floating_tensors_only(batch):
    assert same(batch.to("cpu"), batch)
    moved = batch.to("meta", torch.float64)
    for found, values in zip(values_of(moved), values_of(batch), strict=True):
        assert found.device.type == "meta" and found.shape == values.shape
        assert found.dtype == (torch.float64 if values.is_floating_point() else values.dtype)


@given(batches())
def test_a_change_keeps_the_form_and_what_is_no_tensor(batch):
    assert same(batch.changed(lambda values: values.clone()), batch)
    numbers = iter(range(100))
    found = mapped(lambda _: torch.tensor(next(numbers)), batch.inputs)
    assert [int(value) for value in tensors(found)] == list(range(len(tensors(batch.inputs))))  # in order


def test_named_tuples_keep_their_names():
    batch = Batch(Pair(torch.zeros(4, 2), {"depth": torch.ones(4)}), [None, torch.arange(4)])
    part = batch.parts(2)[1]
    assert isinstance(part.inputs, Pair) and part.inputs.mask["depth"].shape == (2,)
    assert part.targets[0] is None and part.targets[1].tolist() == [2, 3]
