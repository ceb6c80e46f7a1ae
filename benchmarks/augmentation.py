"""Training images per second: `Split.batches` against torchvision transforms in a DataLoader.

Random images of CIFAR's size; random crop with padding 4, mirror image, normalization and a cutout of 16 pixels;
batches of 96. All run in one process, in turns, and the best round counts. The goal is a ratio to the faster DataLoader
of the transforms that published programs use, torchvision's v1, with workers or without.

    python benchmarks/augmentation.py [--images 6000] [--rounds 6] [--threads 1] [--quick] [--json FILE]

Figures are in README.md beside it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision import transforms
from torchvision.transforms import v2

from goals import GOALS
from machine import in_words, machine, write
from ramify.data import Augmentation, load

BATCH, MEAN, STD = 96, (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)


class Cutout:
    """One square of zeros, as the repositories of DARTS and GDAS do it."""

    def __call__(self, image: Tensor) -> Tensor:
        y, x = np.random.randint(32), np.random.randint(32)
        image[:, max(0, y - 8) : y + 8, max(0, x - 8) : x + 8] = 0
        return image


class Images(Dataset):
    """What torchvision's CIFAR10 is: an array, an image made of a row, transforms."""

    def __init__(self, pixels: np.ndarray, transform: Callable) -> None:
        self.pixels, self.transform = pixels, transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[row])), row % 10


def rate(batches: Iterator[tuple[Tensor, Tensor]]) -> float:
    """Return images per second, counted from the second batch on, when workers have started."""
    next(batches)
    begin, count = time.perf_counter(), 0
    for x, _ in batches:
        count += len(x)
    return count / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="two rounds: a look, not a measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pixels = np.random.default_rng(0).integers(0, 256, (options.images, 32, 32, 3), dtype=np.uint8)
    labels = torch.arange(options.images) % 10
    data = load(
        (TensorDataset(torch.from_numpy(pixels), labels), TensorDataset(torch.from_numpy(pixels[:10]), labels[:10]))
    )
    split, augmentation = data.split("train"), Augmentation(crop=4, flip=True, cutout=16)
    crop_and_flip = (transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip())
    chains = {
        "v1": transforms.Compose([*crop_and_flip, transforms.ToTensor(), transforms.Normalize(MEAN, STD), Cutout()]),
        "v2": v2.Compose(
            [
                v2.ToImage(),
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
                Cutout(),
            ]
        ),
    }
    runs: dict[str, Callable[[int], Iterator]] = {
        f"DataLoader, torchvision {name}, {workers} workers": lambda _, chain=chain, workers=workers: iter(
            DataLoader(Images(pixels, chain), BATCH, shuffle=True, num_workers=workers)
        )
        for name, chain in chains.items()
        for workers in (0, 2)
    }
    runs["Split.batches"] = lambda epoch: iter(
        split.batches(BATCH, seed=0, epoch=epoch, shuffle=True, augmentation=augmentation)
    )
    best = dict.fromkeys(runs, 0.0)
    for epoch in range(2 if options.quick else options.rounds):
        for name, make in runs.items():
            best[name] = max(best[name], rate(make(epoch)))

    ours, goal = best["Split.batches"], GOALS["augmentation"]
    ratio = ours / max(best[name] for name in runs if "torchvision v1" in name)
    print(in_words(machine()))
    print(f"{options.threads} threads, {options.images} images")
    for name, images_per_second in best.items():
        print(f"{name:40} {images_per_second:10,.0f} images/s   {ours / images_per_second:6.1f}x")
    print(f"beside the faster DataLoader of torchvision v1: {ratio:.1f}, {goal} {goal.verdict(ratio)}")
    write(options.json, threads=options.threads, images=options.images, images_per_second=best, ratio=ratio)


if __name__ == "__main__":
    main()
