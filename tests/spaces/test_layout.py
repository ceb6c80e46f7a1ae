"""Layouts: what their fields take, what None means in members and supernets, and how calls become one."""

import inspect
import re
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mine import Mine
from ramify import spaces
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.seeding import rng
from ramify.spaces.bounds import LARGEST_WIDTH, MOST_LAYERS
from ramify.spaces.layout import Layout, keyword

NB201, DARTS = spaces.NASBench201(), spaces.DARTSCells()
TINY = {"channels": 4, "cells": 1}
every_space = pytest.mark.parametrize("kind", spaces.SPACES.values(), ids=lambda kind: kind.__name__)


def shapes(module):
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def on_meta(make, *arguments, **keywords):
    with torch.device("meta"):
        return make(*arguments, **keywords)


class TestFields:
    @every_space
    def test_every_keyword_is_documented_once_and_in_order(self, kind):
        documented = re.findall(r"^    (\w+): \S", inspect.cleandoc(kind.Layout.__doc__).partition("Args:")[2], re.M)
        assert sorted(documented) == sorted(item.name for item in fields(kind.Layout))

    @every_space
    def test_none_of_the_shape_is_a_keyword(self, kind):
        assert not {item.name for item in fields(kind.Layout)} & kind.shape.keys()

    @every_space
    def test_nothing_is_left_open(self, kind):
        space = spaces.example(kind)
        for of in ("member", "supernet"):
            found = space.layout(kind=of)
            assert None not in vars(found).values()
            assert space.layout(found, kind=of) == found  # resolved once, it stays

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"channels": 0}, "`channels` must be a whole number, 1 or more, got 0"),
            ({"channels": True}, "`channels` must be a whole number, 1 or more, got True"),
            ({"channels": 2.0}, "`channels` must be a whole number, 1 or more, got 2.0"),
            ({"channels": None}, "`channels` must be a whole number, 1 or more, got None"),
            ({"channels": LARGEST_WIDTH + 1}, "`channels` must be at most 65,536, got 65537"),
            ({"cells": MOST_LAYERS + 1}, "`cells` must be at most 1,000, got 1001"),
            ({"drop_path": 1.0}, r"`drop_path` must be a number in \[0, 1\), got 1.0"),
            ({"drop_path": float("nan")}, r"`drop_path` must be a number in \[0, 1\), got nan"),
            ({"affine": 1}, "`affine` must be true or false, got 1"),
            ({"final_norm": "yes"}, "`final_norm` must be true or false, got yes"),
        ],
    )
    def test_wrong_values_are_refused_wherever_they_come_in(self, given, message):
        arch = NB201.sample(rng(0))
        for call in (
            lambda: NB201.Layout(**given),
            lambda: replace(NB201.Layout(), **given),
            lambda: NB201.layout(given),
            lambda: NB201.build(arch, **given),
            lambda: NB201.build(arch, given),
        ):
            with pytest.raises(ConfigurationError, match=message):
                call()

    def test_names_are_answered_with_the_nearest(self):
        with pytest.raises(
            ConfigurationError, match=r"\['cifar', 'imagenet'\], got 'imagnet'; did you mean 'imagenet'"
        ):
            DARTS.Layout(layout="imagnet")

    def test_layouts_cannot_be_changed(self):
        with pytest.raises(AttributeError):
            NB201.Layout().cells = 2  # type: ignore[misc]

    @pytest.mark.parametrize(
        ("space", "kind", "given", "message"),
        [
            (NB201, "supernet", {"drop_path": 0.1}, "`drop_path` of NASBench201 is for built networks, not supernets"),
            (DARTS, "supernet", {"auxiliary": True}, "`auxiliary` of DARTSCells is for built networks, not supernets"),
            (DARTS, "member", {"partial_channels": 4}, "`partial_channels` of DARTSCells is for supernets, not built"),
        ],
    )
    def test_what_one_of_both_takes_is_refused_by_the_other_unless_it_says_nothing(self, space, kind, given, message):
        with pytest.raises(ConfigurationError, match=message):
            space.layout(given, kind=kind)
        default = {name: getattr(space.Layout(), name) for name in given}
        assert space.layout(default, kind=kind) == space.layout(kind=kind)


class TestDefaults:
    def test_they_differ_between_members_and_supernets(self):
        sizes = {
            (kind, name): (found.channels, found.layers, found.stem_multiplier, found.affine, found.pool_norm)
            for kind in ("member", "supernet")
            for name in ("cifar", "imagenet")
            for found in [DARTS.layout(layout=name, kind=kind)]
        }
        assert sizes == {
            ("member", "cifar"): (36, 20, 3, True, False),
            ("member", "imagenet"): (48, 14, 1, True, False),
            ("supernet", "cifar"): (16, 8, 3, False, True),
            ("supernet", "imagenet"): (16, 8, 1, False, True),
        }
        assert [spaces.StageGraph().layout(layout=name).channels for name in ("cifar", "imagenet")] == [36, 39]
        assert spaces.MobileChain().layout().channels == 40

    def test_a_supernet_says_what_it_came_of_and_members_are_laid_out_so(self):
        sup = on_meta(DARTS.supernet, num_classes=7, channels=4, layers=3, layout="imagenet")
        assert sup.layout == DARTS.layout({"channels": 4, "layers": 3, "layout": "imagenet"}, kind="supernet")
        assert sup.shape == {"num_classes": 7, "in_channels": 3}
        arch = DARTS.sample(rng(0))
        member = on_meta(DARTS.build, arch, sup.layout, shape=sup.shape)
        assert shapes(member) == {name: size for name, size in shapes(sup).items() if name in shapes(member)}

    def test_a_supernet_of_partial_channels_holds_no_member(self):
        sup = NB201.supernet(channels=4, cells=1, partial_channels=2)
        with pytest.raises(ArchitectureError, match="a supernet with partial_channels=2 holds no member"):
            NB201.extract(sup, NB201.sample(rng(0)))


class TestCalls:
    @given(st.sets(st.sampled_from(["channels", "cells", "num_classes", "in_channels"])))
    def test_every_way_to_say_the_same_builds_the_same(self, by_keyword):
        said = {"channels": 4, "cells": 1, "num_classes": 7, "in_channels": 2}
        keywords = {name: said[name] for name in by_keyword}
        layout = {name: value for name, value in said.items() if name in TINY and name not in by_keyword}
        shape = {name: said[name] for name in ("num_classes", "in_channels") if name not in by_keyword}
        arch = NB201.sample(rng(0))
        wanted = shapes(on_meta(NB201.build, arch, **said))
        for first in (layout, NB201.Layout(**layout)):
            assert shapes(on_meta(NB201.build, arch, first, shape=shape, **keywords)) == wanted

    def test_keywords_win(self):
        sup = on_meta(NB201.supernet, NB201.Layout(cells=3), shape={"num_classes": 5}, cells=1, num_classes=6)
        assert (sup.layout.cells, sup.shape["num_classes"]) == (1, 6)

    @pytest.mark.parametrize(
        ("arguments", "keywords", "message"),
        [
            ((10,), {}, "NASBench201 takes a layout, got 10; what the task demands is named: num_classes=10"),
            ((DARTS.Layout(),), {}, "NASBench201 takes a NASBench201.Layout, got a CellSpace.Layout"),
            (("imagenet",), {}, "unknown layout keyword 'layout' of NASBench201.supernet; known: affine, cells"),
            ((), {"chanels": 4}, "unknown layout keyword 'chanels' of NASBench201.supernet; did you mean 'channels'"),
            ((), {"kind": 4}, "unknown layout keyword 'kind' of NASBench201.supernet"),
            ((), {"num_clases": 4}, "unknown layout keyword 'num_clases' of NASBench201.supernet"),
            ((), {"shape": {"features": 4}}, "NASBench201 is for images, not for rows of a table"),
            ((), {"shape": {"words": 4}}, "NASBench201 has no shape 'words'; known: in_channels, num_classes"),
            ((), {"num_classes": -1}, "`num_classes` must be a whole number, 0 or more, got -1"),
            ((), {"shape": {"in_channels": "3"}}, "`in_channels` must be a whole number, 1 or more, got 3"),
            ((), {"num_classes": LARGEST_WIDTH + 1}, "`num_classes` must be at most 65,536, got 65537"),
        ],
    )
    def test_other_calls_are_refused_in_one_line(self, arguments, keywords, message):
        with pytest.raises(ConfigurationError, match=message) as found:
            NB201.supernet(*arguments, **keywords)
        assert len(str(found.value)) < 300
        assert "\n" not in str(found.value)


class TestOwnClasses:
    """What a user writes."""

    def test_a_keyword_more(self):
        space, arch = Mine(), Mine().sample(rng(0))
        wide = space.build(arch, channels=4, cells=1, wide=2)
        assert shapes(wide) == shapes(space.build(arch, channels=8, cells=1))
        sup = space.supernet(wide=2, **TINY)
        assert (sup.layout.wide, sup.layout.channels) == (2, 4)
        assert shapes(space.extract(sup, arch)) == shapes(space.build(arch, sup.layout))
        with pytest.raises(ConfigurationError, match="layout keyword `wide` must be a whole number"):
            space.build(arch, wide=0)

    def test_a_shape_of_its_own(self):
        class Regressing(spaces.NASBench201):
            shape: ClassVar = {"features": 1, "in_channels": 3}

            def _build(self, arch, layout, shape):
                return super()._build(arch, layout, {**shape, "num_classes": shape["features"]})

        space = Regressing()
        arch = space.sample(rng(0))
        assert space.build(arch, features=5, **TINY).classifier.out_features == 5
        assert space.build(arch, shape={"features": 6}, **TINY).classifier.out_features == 6
        with pytest.raises(ConfigurationError, match=r"unknown layout keyword 'num_classes' of Regressing.build"):
            space.build(arch, num_classes=10)

    def test_fields_take_what_their_types_say(self):
        @dataclass(frozen=True, kw_only=True)
        class Own(Layout):
            order: Literal["first", "last"] = "first"
            title: str = "none"
            scale: float = keyword(2.0, positive=True)
            rates: tuple[float, ...] = ()

        assert Own(scale=3, title="a", order="last", rates=(1.0,)).scale == 3
        for wrong in ({"order": "fist"}, {"title": 3}, {"scale": 0}, {"scale": float("inf")}):
            with pytest.raises(ConfigurationError, match=f"layout keyword `{next(iter(wrong))}` must be"):
                Own(**wrong)

    def test_a_keyword_without_default_is_asked_for(self):
        class Asking(spaces.NASBench201):
            @dataclass(frozen=True, kw_only=True)
            class Layout(spaces.NASBench201.Layout):
                wide: int

        with pytest.raises(ConfigurationError, match=r"Asking.supernet needs the layout keyword `wide`"):
            Asking().supernet(**TINY)
        assert Asking().supernet(wide=2, **TINY).layout.wide == 2

    def test_one_without_its_decorator_is_noticed(self):
        class Bare(spaces.NASBench201):
            class Layout(spaces.NASBench201.Layout):
                wide: int = 1

        with pytest.raises(ConfigurationError, match=r"Bare.Layout must be a dataclass"):
            Bare().layout()
