"""The recipe: DARTS' by default, and nothing that cannot be meant."""

import math
from dataclasses import replace

import pytest

from ramify.data import Augmentation, Distortion
from ramify.errors import ConfigurationError
from ramify.training import Recipe


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "cosin"}, "unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"epochs": 0}, "`epochs` must be at least 1, got 0"),
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"epochs": 5, "warmup_epochs": 5}, r"`warmup_epochs` must be in \[0, 5\), got 5"),
        ({"drop_path": 1.0}, r"`drop_path` must be in \[0, 1\), got 1.0"),
        ({"label_smoothing": -0.1}, r"`label_smoothing` must be in \[0, 1\), got -0.1"),
        ({"lr": -0.1}, "`lr` must be a number from 0, got -0.1"),
        ({"lr": math.nan}, "`lr` must be a number from 0, got nan"),
        ({"min_lr": -1.0}, "`min_lr` must be"),
        ({"decay": math.inf}, "`decay` must be"),
        ({"crop": -1}, "`crop` must be a number from 0, got -1"),
        ({"cutout": -1}, "`cutout` must be"),
        ({"warmup": "epochs"}, "unknown warmup 'epochs'; did you mean 'epoch'"),
        ({"rest_lr": 0.1}, "`rest_lr` above 0 and the optimizer 'muon' need each other, got 0.1"),
        ({"optimizer": "muon"}, "`rest_lr` above 0 and the optimizer 'muon' need each other, got 0"),
        ({"optimizer": "muon", "rest_lr": 0.1, "decay_norms": False}, "the optimizer 'muon' needs an `lr` above 0"),
        ({"whiten": -1}, "`whiten` must be a number from 0, got -1"),
        ({"optimizer": "adam"}, "unknown optimizer 'adam'; known: muon, rmsprop, sgd"),
        ({"nesterov": True, "optimizer": "rmsprop"}, "`nesterov` is for the optimizer 'sgd'"),
        ({"accumulate": 0}, "`accumulate` must be at least 1, got 0"),
        ({"mixup": -1.0}, "`mixup` must be a number from 0"),
        ({"ema": 1.0}, r"`ema` must be in \[0, 1\), got 1.0"),
        ({"nesterov": True, "momentum": 0.0}, "`nesterov` needs a `momentum` above 0"),
        ({"span": "al"}, "unknown span 'al'; did you mean 'all'"),
        ({"ending": "fall"}, "unknown ending 'fall'; did you mean 'falling'"),
        (
            {"epochs": 9, "warmup_epochs": 2, "last_epochs": 7},
            r"`last_epochs` must be in \[0, 7\), what the warm-up leav",
        ),
        ({"last_epochs": -1}, r"`last_epochs` must be in \[0, 600\), what the warm-up leaves, got -1"),
        (
            {"last_epochs": 5, "schedule": "constant"},
            "`last_epochs` needs a schedule with an end: 'cosine' or 'linear'",
        ),
        ({"warmup_lr": 0.1}, "`warmup_lr` must be at most `lr`, 0.025, got 0.1"),
        ({"recalibrate": -1}, "`recalibrate` must be a number from 0, got -1"),
    ],
)
def test_impossible_recipes(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Recipe(**options)


def test_the_defaults_are_those_of_darts_for_cifar():
    recipe = Recipe()
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.weight_decay) == (600, 96, 0.025, 3e-4)
    assert (recipe.clip, recipe.drop_path, recipe.auxiliary_weight) == (5.0, 0.2, 0.4)
    assert recipe.augmentation(Augmentation(), (3, 32, 32)).cutout == 16


def test_augmentation_is_the_data_sets_own_where_the_recipe_leaves_it_open():
    own = Augmentation(crop=4, flip=True)
    assert Recipe(cutout=3).augmentation(own, (3, 32, 32)) == Augmentation(crop=4, flip=True, cutout=3)
    assert Recipe(crop=0, flip=False, cutout=0).augmentation(own, (3, 32, 32)) == Augmentation()


def test_a_resized_crop_replaces_the_other():
    own = Augmentation(crop=4, flip=True)
    distortion = Distortion(resized=0.08, jitter=(0.4, 0.4, 0.4, 0.2))
    found = Recipe(distortion=distortion).augmentation(own, (3, 224, 224))
    assert found == Augmentation(crop=0, flip=True, distortion=distortion)
    assert Recipe(distortion=Distortion(fill=128)).augmentation(own, (3, 32, 32)).crop == 4


@pytest.mark.parametrize(
    ("params", "weight_decay", "drop_path"),
    [(2_900_000, 3e-4, 0.2), (3_350_000, 3e-4, 0.3), (3_859_318, 5e-4, 0.3), (3_000_000, 3e-4, 0.3)],
)
def test_cdarts_size_rule(params, weight_decay, drop_path):
    recipe = Recipe(weight_decay=0.1, drop_path=0.5, lr=0.1)
    assert recipe.sized(params) is recipe
    ruled = replace(recipe, size_rule=True).sized(params)
    assert (ruled.weight_decay, ruled.drop_path, ruled.lr) == (weight_decay, drop_path, 0.1)


def test_the_cutout_follows_the_size_of_the_images_and_never_covers_one():
    found = [Recipe().augmentation(Augmentation(), (3, side, side)).cutout for side in (8, 32, 64, 224)]
    assert found == [4, 16, 32, 0]
    with pytest.raises(ConfigurationError, match="`cutout` must be below the side of the images, 8, got 16"):
        Recipe(cutout=16).augmentation(Augmentation(), (3, 8, 8))
    assert Recipe().augmentation(Augmentation(), (5, 24, 16)).cutout == 8  # by the shorter side
    for size in ((5, 24, 16), (5, 16, 24)):
        with pytest.raises(ConfigurationError, match="`cutout` must be below the side of the images, 16, got 16"):
            Recipe(cutout=16).augmentation(Augmentation(), size)


def test_a_distortion_of_colors_is_refused_for_images_without_any():
    recipe = Recipe(distortion=Distortion(lighting=0.1))
    assert recipe.augmentation(Augmentation(), (3, 24, 16)).distortion.lighting == 0.1
    with pytest.raises(ConfigurationError, match="`lighting` of a distortion changes colors, and images of 5 channels"):
        recipe.augmentation(Augmentation(), (5, 24, 16))
