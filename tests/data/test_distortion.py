"""Distortions against torchvision's, one image at a time, and what is drawn for them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import TensorDataset
from torchvision.transforms.v2 import functional as TF

from ramify.data import Augmentation, DataSpec, Distortion, load
from ramify.data.augmentation import windows
from ramify.data.distortion import POLICIES, _brightness, _contrast, _hue, _saturation, jitter, rectangles, resized_crop
from ramify.errors import ConfigurationError, DataError
from ramify.seeding import derive, stream
from small_runs import loaded


def images(count=4, side=12, channels=3, width=None):
    shape = (count, side, width or side, channels)
    return torch.randint(0, 256, shape, generator=stream(0, "images"), dtype=torch.uint8)


def uniform(rows, count, key="draws"):
    return torch.rand(rows, count, dtype=torch.float64, generator=stream(0, key))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resized": 1.1}, "`resized` must be a share of the area from 0 to 1, got 1.1"),
        ({"jitter": (0.4, 0.4, 0.4, 0.6)}, "`jitter` must be four numbers from 0, the last at most 0.5"),
        ({"jitter": (0.4, 0.4)}, "`jitter` must be four numbers"),
        ({"jitter": (-0.1, 0, 0, 0)}, "`jitter` must be four numbers"),
        ({"policy": "autoaugment"}, "unknown policy 'autoaugment'; did you mean 'autoaugment-"),
        ({"magnitude": 11.0}, r"`magnitude` must be in \[0, 10\], got 11.0"),
        ({"ratio": 0.0}, "`ratio` must be above 0 and at most 1, got 0.0"),
        ({"ratio": 1.5}, "`ratio` must be above 0 and at most 1, got 1.5"),
        ({"lighting": -0.1}, "`lighting` must be a number from 0, got -0.1"),
        ({"magnitude_std": -1.0}, "`magnitude_std` must be a number from 0"),
        ({"erase": 2.0}, "`erase` must be a probability, got 2.0"),
        ({"fill": 256}, r"`fill` must be in \[0, 255\], got 256"),
    ],
)
def test_impossible_distortions(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Distortion(**options)


def test_the_default_does_nothing():
    assert not Distortion().distorts
    assert not Distortion(fill=128, magnitude=3.0, ratio=1.0).distorts
    x = images()
    assert torch.equal(Distortion().before(x.clone(), uniform(53, 4), [0] * 4), x)


@pytest.mark.parametrize(
    ("ours", "theirs", "factors"),
    [
        (_brightness, TF.adjust_brightness, (0.0, 0.6, 1.0, 1.9)),
        (_contrast, TF.adjust_contrast, (0.0, 0.6, 1.0, 1.9)),
        (_saturation, TF.adjust_saturation, (0.0, 0.6, 1.0, 1.9)),
        (_hue, TF.adjust_hue, (-0.5, -0.2, 0.1, 0.5)),
    ],
)
def test_colors_are_torchvisions(ours, theirs, factors):
    x = images().float() / 255
    x[0, 0, :4] = torch.tensor([[0.0, 0, 0], [1, 1, 1], [0.4, 0.4, 0.4], [1, 0, 0]])  # without hue, without saturation
    found = ours(x, torch.tensor(factors)[:, None, None, None])
    expected = torch.stack(
        [theirs(image, factor) for image, factor in zip(x.permute(0, 3, 1, 2), factors, strict=True)]
    )
    torch.testing.assert_close(found.permute(0, 3, 1, 2), expected, rtol=0, atol=1e-5)


def test_colors_change_in_the_drawn_order():
    x, strength, draws = images(), (0.8, 0.8, 0.8, 0.4), uniform(4, 4)
    order = uniform(4, 4, "order").argsort(dim=0)
    assert len({tuple(column) for column in order.T.tolist()}) > 1
    found = jitter(x, strength, draws, order)
    changes = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)
    for number, image in enumerate(x.permute(0, 3, 1, 2)):
        expected = image.float() / 255
        for change in order[:, number].tolist():
            low, high = (-0.4, 0.4) if change == 3 else (1 - 0.8, 1 + 0.8)
            expected = changes[change](expected, low + (high - low) * float(draws[change, number]))
        assert (found[number].permute(2, 0, 1).float() - 255 * expected).abs().max() < 0.51


def test_grey_images_keep_their_channel():
    x = images(channels=1)
    order = torch.arange(4)[:, None].expand(4, 4)
    found = jitter(x, (0.4, 0.4, 0.4, 0.2), uniform(4, 4), order)
    assert found.shape == x.shape and not torch.equal(found, x)
    assert torch.equal(jitter(x, (0.0, 0.0, 0.4, 0.2), uniform(4, 4), order), x)


def test_brightness_and_contrast_of_many_channels():
    x, draws = images(channels=5, width=7), uniform(4, 4)
    order = torch.arange(4)[:, None].expand(4, 4)
    found = jitter(x, (0.4, 0.3, 0.0, 0.0), draws, order).double()
    for number, image in enumerate(x.double() / 255):
        brightness, contrast = 0.6 + 0.8 * draws[0, number], 0.7 + 0.6 * draws[1, number]
        brighter = (image * brightness).clamp(0, 1)
        expected = (brighter.mean() + contrast * (brighter - brighter.mean())).clamp(0, 1)
        assert (found[number] - 255 * expected).abs().max() < 0.51


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"jitter": (0.4, 0.4, 0.4, 0.0)},
            "`jitter` of a distortion changes colors, and images of 5 channels have none",
        ),
        ({"jitter": (0.0, 0.0, 0.0, 0.1)}, "leave saturation and hue 0, as in jitter 0.4,0.4,0,0"),
        ({"policy": "randaugment"}, "`policy` of a distortion changes colors, and images of 5 channels have none"),
        ({"lighting": 0.1}, "`lighting` of a distortion changes colors"),
    ],
)
def test_what_needs_colors_is_refused_for_other_channels(options, message):
    distortion = Distortion(**options)
    distortion.check(1)
    distortion.check(3)
    with pytest.raises(ConfigurationError, match=message):
        distortion.check(5)
    split = load(TensorDataset(torch.rand(20, 5, 12, 10), torch.arange(20) % 2)).split("train")
    with pytest.raises(ConfigurationError, match="images of 5 channels"):  # before the first batch is made
        split.batches(4, seed=0, augmentation=Augmentation(distortion=distortion))


def test_rectangles_have_the_drawn_areas_and_lie_inside():
    boxes = rectangles(uniform(22, 5000), (64, 64), (0.08, 1.0), 3 / 4)
    top, left, height, width = boxes.T
    assert min(top.min(), left.min()) == 0 and (top + height).max() == (left + width).max() == 64
    area, ratio = (height * width) / 64**2, width / height
    assert 0.07 < area.min() < 0.09 and area.max() > 0.97
    assert 0.7 < ratio.min() < 0.77 and 1.3 < ratio.max() < 1.43
    # shapes that do not fit are drawn anew, which makes large ones rarer: 0.54 would be the mean of all
    assert 0.47 < area.mean() < 0.52
    assert abs(ratio.log().mean()) < 0.02


def test_square_crops():
    boxes = rectangles(uniform(22, 2000), (64, 64), (0.08, 1.0), 1.0)
    assert torch.equal(boxes[:, 2], boxes[:, 3])
    share = (boxes[:, 2] / 64) ** 2  # every square fits, so shares are uniform
    assert 0.07 < share.min() < 0.09 and abs(share.mean() - 0.54) < 0.02
    x = images(2, 8)
    draws = uniform(56, 2)
    expected = resized_crop(x, rectangles(draws[:22], (8, 8), (0.3, 1.0), 1.0))
    assert torch.equal(Distortion(resized=0.3, ratio=1.0).before(x, draws, [0, 1]), expected)
    assert not torch.equal(Distortion(resized=0.3).before(x, draws, [0, 1]), expected)


def test_lighting_is_alexnets():
    """To the colors [p1 p2 p3] · [a1 λ1, a2 λ2, a3 λ3] is added, with a normal of deviation 0.1."""
    vectors = torch.tensor(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]], dtype=torch.float64
    )
    values = torch.tensor([0.2175, 0.0188, 0.0045], dtype=torch.float64)
    std = torch.tensor([0.2, 0.25, 0.3], dtype=torch.float64)
    draws = uniform(56, 4000)
    draws[53:, 0] = 0.5  # the median: nothing is added
    draws[53:, 1] = 0.0  # still finite
    x = torch.zeros(4000, 2, 2, 3, dtype=torch.float64)
    found = Distortion(lighting=0.1).light(x.clone(), draws, std)
    assert torch.equal(found[0], x[0]) and found.isfinite().all()
    normal = torch.distributions.Normal(0, 1).icdf(draws[53:, 2:])
    shift = (vectors @ (values[:, None] * 0.1 * normal)).T / std
    torch.testing.assert_close(found[2:], shift[:, None, None, :].expand(-1, 2, 2, -1))
    covariance = 0.01 * vectors @ torch.diag(values**2) @ vectors.T
    torch.testing.assert_close(torch.cov((found[2:, 0, 0] * std).T), covariance, rtol=0.1, atol=2e-6)
    assert Distortion(lighting=0.1).distorts
    grey = torch.zeros(2, 2, 2, 1)
    assert torch.equal(Distortion(lighting=0.1).light(grey.clone(), draws[:, :2], torch.ones(1)), grey)


def test_what_is_drawn_for_lighting_leaves_the_rest_as_it_was():
    for count in (1, 7, 96):
        earlier = torch.rand(53, count, dtype=torch.float64, generator=stream(0, "distort"))
        assert torch.equal(Distortion().draw(count, stream(0, "distort"))[:53], earlier)


def test_where_nothing_fits_the_rectangle_is_the_image():
    draws = torch.zeros(22, 1, dtype=torch.float64)
    draws[:10] = 0.999  # the whole area, as a strip
    assert rectangles(draws, (32, 32), (0.9, 1.0), 0.1).tolist() == [[0, 0, 32, 32]]
    draws[:10] = 1  # of a long image, no crop of all its area has a permitted ratio
    for ratio in (1.0, 3 / 4, 0.4):
        wide, tall = (rectangles(draws, size, (1.0, 1.0), ratio)[0, 2:].tolist() for size in ((16, 40), (40, 16)))
        assert wide == [16, min(40, round(16 / ratio))] and tall == wide[::-1]


@given(
    *(st.integers(1, 70),) * 2,
    st.sampled_from([(0.08, 1.0), (0.02, 1 / 3), (1.0, 1.0)]),
    st.sampled_from([1.0, 3 / 4, 0.3]),
    st.integers(0, 10**6),
)
def test_rectangles_lie_inside_of_images_of_any_size(height, width, area, ratio, seed):
    draws = torch.rand(22, 20, dtype=torch.float64, generator=stream(seed, "test"))
    for draw in (draws, torch.ones_like(draws) - 2**-53, torch.zeros_like(draws)):
        top, left, high, wide = rectangles(draw, (height, width), area, ratio).T
        assert min(top.min(), left.min()) >= 0 and min(high.min(), wide.min()) >= 1
        assert (top + high).max() <= height and (left + wide).max() <= width
        # Sides are rounded to pixels, each by half of one at most.
        assert ((wide + 0.5) / (high - 0.5) >= ratio).all() and ((high + 0.5) / (wide - 0.5) >= ratio).all()


@pytest.mark.parametrize(("width", "channels"), [(24, 3), (16, 5), (40, 1)])
def test_resized_crops_are_torchvisions(width, channels):
    x = images(8, 24, channels, width)
    boxes = rectangles(uniform(22, 8), (24, width), (0.08, 1.0), 3 / 4)
    found = resized_crop(x, boxes).permute(0, 3, 1, 2)
    for image, box, result in zip(x.permute(0, 3, 1, 2), boxes.tolist(), found, strict=True):
        expected = TF.resized_crop(image, *box, size=[24, width], antialias=True)
        assert (result.int() - expected.int()).abs().max() <= 1  # it rounds after each direction
    whole = torch.tensor([[0, 0, 24, width]]).expand(8, 4)
    assert torch.equal(resized_crop(x, whole), x)


@pytest.mark.parametrize("policy", POLICIES[1:])
@pytest.mark.parametrize("width", [16, 11])
def test_policies_follow_from_the_keys_alone(policy, width):
    x, distortion = images(6, 16, width=width), Distortion(policy=policy, magnitude_std=2.0, fill=128)
    state = torch.random.get_rng_state()
    found = distortion.before(x, uniform(53, 6), list(range(6)))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert found.shape == x.shape and found.dtype == torch.uint8
    assert sum(not torch.equal(a, b) for a, b in zip(found, x, strict=True)) >= 4
    assert torch.equal(distortion.before(x[2:4], uniform(53, 2), [2, 3]), found[2:4])
    assert not torch.equal(distortion.before(x, uniform(53, 6), list(range(6, 12))), found)


def test_randaugment_of_no_magnitude_moves_nothing():
    x = images(20, 16)
    changed = [
        (
            Distortion(policy="randaugment", magnitude=m).before(x, uniform(53, 20), list(range(20))).int() - x.int()
        ).abs()
        for m in (0.0, 3.0, 10.0)
    ]
    mild, medium, strong = (float(change.float().mean()) for change in changed)
    assert mild < medium < strong


def test_erased_rectangles():
    x, draws = torch.zeros(400, 20, 20, 3), uniform(53, 400)
    keys = [derive(0, "key", image) for image in range(400)]
    found = Distortion(erase=0.25).after(x.clone(), draws, keys)
    erased = (found != 0).flatten(1).any(dim=1)
    assert torch.equal(erased, draws[30] < 0.25)
    assert 70 < erased.sum() < 130
    share = (found[erased] != 0).float().mean(dim=(1, 2, 3))
    assert share.min() > 0.015 and share.max() < 0.36
    noise = found[found != 0]
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert torch.equal(Distortion(erase=0.25).after(x[:10].clone(), draws[:, :10], keys[:10]), found[:10])


def test_what_lies_outside_is_filled():
    pixels = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    pixels[:, 2:6, 2:6] = images(1, 4)
    corner = torch.tensor([[0], [0], [0], [0], [0]])  # the window at the top left, of a 4×4 image padded by 2
    plain, grey = (windows(pixels, torch.tensor([0]), corner, size=(4, 4), crop=2, fill=fill) for fill in (0, 128))
    assert (grey[0, :2] == 128).all() and (grey[0, :, :2] == 128).all()
    assert torch.equal(grey[0, 2:, 2:], plain[0, 2:, 2:])


@pytest.mark.parametrize(
    "options", [{"resized": 0.08}, {"jitter": (0.4, 0.4, 0.4, 0.2)}, {"lighting": 0.1}, {"erase": 1.0}, {"fill": 128}]
)
def test_batches_of_color_images_take_each_distortion_alone(options, parquet):
    data = load(DataSpec(source=str(parquet("colors.parquet", [0, 1] * 6)), subset=8))
    augmentation = data.augmentation.distorted(Distortion(**options))
    assert augmentation.crop == (0 if "resized" in options else data.augmentation.crop)
    split = data.split("search_train")
    ((plain, _),) = split.batches(4, seed=0, augmentation=data.augmentation)
    ((x, _),) = split.batches(4, seed=0, augmentation=augmentation)
    assert x.shape == plain.shape == (4, 3, 8, 8) and not torch.equal(x, plain)
    assert x.is_contiguous(memory_format=torch.channels_last)
    if "lighting" in options:  # one shift of colors for an image, before anything else is normalized away
        shift = (x - plain).flatten(2)
        torch.testing.assert_close(shift, shift[:, :, :1].expand_as(shift), rtol=0, atol=1e-5)


EVERYTHING = Distortion(
    resized=0.3, jitter=(0.4, 0.4, 0.4, 0.2), policy="autoaugment-cifar10", erase=0.5, magnitude_std=1.0
)


def test_batches_follow_from_their_number_alone():
    """From anywhere in a pass, and of every process its part."""
    split = loaded().split("search_train")
    options = {"seed": 3, "epoch": 2, "shuffle": True, "augmentation": Augmentation(flip=True, distortion=EVERYTHING)}
    whole = [x for x, _ in split.batches(8, **options)]
    plain = [x for x, _ in split.batches(8, **options | {"augmentation": Augmentation(flip=True)})]
    assert not any(torch.equal(a, b) for a, b in zip(whole, plain, strict=True))
    later = [x for x, _ in split.batches(8, start=2, **options)]
    assert all(torch.equal(a, b) for a, b in zip(later, whole[2:], strict=True))
    for first in (0, 1):
        part = [x for x, _ in split.batches(8, part=(first, 2), **options)]
        assert all(torch.equal(a, b[first::2]) for a, b in zip(part, whole, strict=True))


def test_no_images_are_distorted_to_none():
    """As a process has them whose share of a last batch is empty."""
    x, none = images(1, 16)[:0], uniform(53, 1)[:, :0]
    assert EVERYTHING.before(x, none, []).shape == (0, 16, 16, 3)
    assert EVERYTHING.after(x.float(), none, []).shape == (0, 16, 16, 3)


def test_who_is_mirrored_alternates():
    items = TensorDataset(torch.rand(40, 3, 8, 8, generator=stream(0, "images")), torch.arange(40) % 2)
    split = load(items).split("train")
    augmentation = Augmentation(flip="alternating")
    plain = torch.cat([x for x, _ in split.batches(7, seed=3)])

    def mirrored(**options):
        """Who is, in the order of the data set."""
        found = torch.cat([x for x, _ in split.batches(7, seed=3, augmentation=augmentation, **options)])
        same = [torch.equal(a, b) for a, b in zip(found, plain, strict=True)]
        other = [torch.equal(a.flip(2), b) for a, b in zip(found, plain, strict=True)]
        assert [not a for a in same] == other
        return other

    first, second, third = (mirrored(epoch=epoch) for epoch in range(3))
    assert first == third == [not one for one in second]
    assert 8 < sum(first) < 24
    shuffled = {"seed": 3, "epoch": 1, "shuffle": True, "augmentation": augmentation}
    whole = [x for x, _ in split.batches(7, **shuffled)]
    assert sum(any(torch.equal(x, y) for y in plain) for x in torch.cat(whole)) == len(second) - sum(second)
    for part in (0, 1):
        shares = [x for x, _ in split.batches(7, part=(part, 2), **shuffled)]
        assert all(torch.equal(a, b[part::2]) for a, b in zip(shares, whole, strict=True))
    with pytest.raises(DataError, match="`flip` must be true, false or 'alternating', got 'sometimes'"):
        Augmentation(flip="sometimes")


def test_batches_of_rectangles_take_every_distortion():
    items = TensorDataset(torch.rand(40, 5, 24, 16, generator=stream(0, "images")), torch.arange(40) % 2)
    split = load(items).split("search_train")
    everything = Distortion(resized=0.3, jitter=(0.4, 0.4, 0.0, 0.0), erase=0.9, fill=100)
    plain = [x for x, _ in split.batches(4, seed=0)]
    for distortion in (Distortion(), everything):
        augmentation = Augmentation(crop=2, flip=True, cutout=6, distortion=distortion)
        found = [x for x, _ in split.batches(4, seed=0, augmentation=augmentation)]
        assert all(x.shape == (4, 5, 24, 16) and x.is_contiguous(memory_format=torch.channels_last) for x in found)
        assert not any(torch.equal(a, b) for a, b in zip(found, plain, strict=True))


def test_other_augmentation_stays_as_it_was():
    """Distortions draw from streams of their own."""
    split = loaded().split("search_train")
    options = {"seed": 3, "epoch": 2, "shuffle": True}
    own = Augmentation(crop=1, flip=True, cutout=2)
    erasing = Augmentation(crop=1, flip=True, cutout=2, distortion=Distortion(erase=1e-12))
    for (a, _), (b, _) in zip(
        split.batches(8, augmentation=own, **options), split.batches(8, augmentation=erasing, **options), strict=True
    ):
        assert torch.equal(a, b)
