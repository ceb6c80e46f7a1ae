"""The recipe: DARTS' by default, and nothing that cannot be meant."""

import math

import pytest

from ramify.data import Augmentation
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
        ({"nesterov": True, "momentum": 0.0}, "`nesterov` needs a `momentum` above 0"),
    ],
)
def test_impossible_recipes(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Recipe(**options)


def test_the_defaults_are_those_of_darts_for_cifar():
    recipe = Recipe()
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.weight_decay) == (600, 96, 0.025, 3e-4)
    assert (recipe.clip, recipe.drop_path, recipe.auxiliary_weight) == (5.0, 0.2, 0.4)
    assert recipe.augmentation(Augmentation(), 32).cutout == 16


def test_augmentation_is_the_data_sets_own_where_the_recipe_leaves_it_open():
    own = Augmentation(crop=4, flip=True)
    assert Recipe(cutout=3).augmentation(own, 32) == Augmentation(crop=4, flip=True, cutout=3)
    assert Recipe(crop=0, flip=False, cutout=0).augmentation(own, 32) == Augmentation()


def test_the_cutout_follows_the_size_of_the_images_and_never_covers_one():
    assert [Recipe().augmentation(Augmentation(), side).cutout for side in (8, 32, 64, 224)] == [4, 16, 32, 0]
    with pytest.raises(ConfigurationError, match="`cutout` must be below the side of the images, 8, got 16"):
        Recipe(cutout=16).augmentation(Augmentation(), 8)
