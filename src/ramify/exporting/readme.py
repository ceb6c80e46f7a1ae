"""`README.md` of an export: how each of its files is used."""

from __future__ import annotations

from collections.abc import Mapping

from ramify.exporting.card import Card
from ramify.exporting.formats import Format, Subject

README = "README.md"


def readme(card: Card, subject: Subject, wanted: Mapping[str, Format]) -> str:
    """Return the text: what the network takes and returns, then each file with what Python does with it."""
    size = (1, *card.input_size)
    values = {
        "size": size,
        "pixels": (1, *card.input_size[1:], card.input_size[0]),
        "dtype": subject.images.dtype,
        "told": ", ".join(f"`{name}`" for name in card.told()),
        "returned": "probabilities (B, classes)" if subject.has_classes else "what the network returns",
        "inputs": 'images = model.read("cat.jpg")  # or of your own, normalized'
        if card.of_images
        else f"import torch\n\nimages = torch.zeros({size}, dtype={subject.images.dtype})",
    }
    sections = [f"## `{form.file}`\n\n{form.use.format(**values)}" for form in wanted.values()]
    return "\n".join([f"# {card.name}\n", *_about(card, subject), "", *sections])


def _about(card: Card, subject: Subject) -> list[str]:
    count = sum(parameter.numel() for parameter in subject.plain.parameters())
    shape = ", ".join(map(str, ("B", *card.input_size)))
    sizes = (", ".join(map(str, ("B", *each.shape[1:]))) for each in subject.example_outputs)
    returned = ", ".join(f"({size})" for size in sizes)
    lines = [f"A network of {count:,} parameters, written by Ramify. It maps ({shape}) to {returned}.\n"]
    if card.of_images:
        pixels = f"{card.input_size[1]}x{card.input_size[2]} pixels"
        framed = (
            f"fit into {pixels} as a whole, with black right or below"
            if card.whole
            else f"cover {pixels}, cut to the center"
        )
        lines.append(
            f"Pictures are turned upright, resized to {framed}, scaled to 0..1, then normalized: (x - mean) / std.\n"
        )
    if card.mean is not None:
        lines += [f"* mean: {card.mean}", f"* std: {card.std}"]
    if card.classes:
        some = ", ".join(card.classes[:20]) + (", ..." if len(card.classes) > 20 else "")
        lines.append(f"* {len(card.classes)} classes: {some}")
    if card.target_names:
        lines.append(f"* values: {', '.join(card.target_names)}")
    return [*lines, "", "`manifest.json` has all of it, checksums and versions."]
