"""The division of a data set's images into splits, and thinning them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ramify.data.spec import DataSpec
from ramify.data.splits import (
    CIFAR10_TRAIN,
    CIFAR100_TEST,
    balanced,
    nasbench201_cifar10,
    nasbench201_test,
    read_split_file,
    stratified,
)
from ramify.errors import DataError
from ramify.seeding import stream


def divided(
    name: str, classes: tuple[str, ...], labels: Tensor, ranges: dict[str, Tensor], spec: DataSpec
) -> dict[str, Tensor]:
    """Divide the images, numbered as in `labels`, whose parts are `ranges`; every value is sorted."""
    train, validation, test = (ranges.get(part) for part in ("train", "validation", "test"))
    if train is None:
        none = torch.arange(0)
        return {"train": none, "search_train": none, "search_validation": none, "test": ranges["test"]}
    if test is None:
        # The seed is fixed: with another one for each split, test images of one run would train another.
        kept, held = stratified(labels[train], spec.test_fraction, stream(0, "held-out test"))
        train, test = train[kept], train[held]

    lists = read_split_file(spec.split_file) if spec.split_file else None
    if spec.split == "nasbench201":
        lists = _nasbench201(name, classes, labels, ranges, lists)
    if lists is not None and "xvalid" in lists:
        if "test" not in ranges:
            raise DataError(f"{spec.split_file}: divides test images, and {name} brings none")
        checked = [_within(lists[key], ranges["test"], key, name) for key in ("xvalid", "xtest")]
        # As in the benchmark, retraining never sees x-valid: here `train` is not the union of both.
        return {"train": train, "search_train": train, "search_validation": checked[0], "test": checked[1]}
    if lists is not None:
        search = [_within(lists[key], train, key, name, ranges["train"]) for key in ("train", "valid")]
    elif validation is not None and spec.split == "auto":
        search = [train, validation]
    else:
        pool = train if validation is None else torch.cat([train, validation])
        if spec.split == "ordered":
            last = round(len(pool) * spec.validation_fraction)
            halves: tuple[Tensor, ...] = torch.arange(len(pool)).split([len(pool) - last, last])
        else:
            halves = stratified(labels[pool], spec.validation_fraction, stream(spec.seed, "split"))
        search = [pool[half] for half in halves]
    whole = torch.cat(search).sort().values
    return {"train": whole, "search_train": search[0], "search_validation": search[1], "test": test}


def _within(index: Tensor, allowed: Tensor, key: str, name: str, part: Tensor | None = None) -> Tensor:
    """Translate indices within `part` (default: `allowed`) to image numbers, all of which must be `allowed`."""
    part = allowed if part is None else part
    if len(index) and int(index[-1]) >= len(part):
        raise DataError(f"{name}: the list {key!r} has index {int(index[-1])}, and there are only {len(part)} images")
    numbers = part[index]
    if not bool(torch.isin(numbers, allowed).all()):
        raise DataError(f"{name}: the list {key!r} has images held out for testing; set `test` or `test_fraction` 0")
    return numbers


def _nasbench201(
    name: str,
    classes: Sequence[str],
    labels: Tensor,
    ranges: dict[str, Tensor],
    lists: dict[str, Tensor] | None,
) -> dict[str, Tensor]:
    """Return the benchmark's lists for CIFAR-10, CIFAR-100 or ImageNet16-120, if that is what the images are."""
    sizes = {part: len(numbers) for part, numbers in ranges.items()}
    first: tuple[int, ...] = ()
    if sizes == {"train": 50_000, "test": 10_000} and len(classes) in (10, 100):
        part, first = ("train", CIFAR10_TRAIN) if len(classes) == 10 else ("test", CIFAR100_TEST)
        source = f"cifar{len(classes)}"
    elif sizes == {"train": 151_700, "test": 6_000} and len(classes) == 120:
        part, source = "test", "imagenet16-120"  # whose order the checksums of its files tell
    else:
        raise DataError(
            f"{name}: split 'nasbench201' is for CIFAR-10 and CIFAR-100, with 50000 training and 10000 test images, "
            "and for imagenet16-120, with 151700 and 6000"
        )
    ours = labels[ranges[part]][: len(first)].tolist()
    if tuple(ours) != first:
        raise DataError(
            f"{name}: the {part} images are not in the published order (labels start {ours}, not {list(first)}), in "
            f"which split 'nasbench201' numbers them; take source {source}, or split 'random'"
        )
    wanted = ("train", "valid") if part == "train" else ("xvalid", "xtest")
    if lists is not None and set(lists) != set(wanted):
        raise DataError(f"{name}: split 'nasbench201' needs a split file with {' and '.join(sorted(wanted))}")
    if lists is None:
        halves = nasbench201_cifar10() if part == "train" else nasbench201_test(source)
        lists = dict(zip(wanted, halves, strict=True))
    return lists


def thinned(chosen: dict[str, Tensor], labels: Tensor, spec: DataSpec) -> dict[str, Tensor]:
    """Thin the splits to `spec.subset` training images, in the proportion they have, and as many for testing."""
    if spec.subset is None:
        return chosen
    parts = [chosen["search_train"], chosen["search_validation"]]
    if not any(map(len, parts)):
        test = chosen["test"]
        return {**chosen, "test": test[balanced(labels[test], spec.subset, stream(spec.seed, "subset", "test"))]}
    count = min(spec.subset, len(parts[0]) + len(parts[1]))
    if count < 2:
        raise DataError(f"`subset` must be at least 2 for a training and a validation image, got {spec.subset}")
    second = min(len(parts[1]), count - 1, max(1, round(count * len(parts[1]) / (len(parts[0]) + len(parts[1])))))
    sizes = {"search_train": count - second, "search_validation": second, "test": min(count, len(chosen["test"]))}
    thin = {
        name: chosen[name][balanced(labels[chosen[name]], size, stream(spec.seed, "subset", name))]
        for name, size in sizes.items()
    }
    whole = torch.cat([thin["search_train"], thin["search_validation"]]).sort().values
    return {"train": whole[torch.isin(whole, chosen["train"])], **thin}
