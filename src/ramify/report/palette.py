"""The report's colors: one per operation, the same in every picture, each with a variant for dark screens.

Pictures are drawn in the light colors below. Whatever shows them on a dark screen replaces each color by
`on_dark` of it, so a figure is drawn once and never knows which theme it will meet.
"""

from __future__ import annotations

import colorsys
import re
import zlib
from collections.abc import Sequence

PAPER, INK, MUTED, LINE, WASH, FAINT = "#ffffff", "#1d232b", "#5e6874", "#d9dde2", "#f1f3f5", "#aeb5bd"
ACCENT = "#1c7a5a"
# lines that are not operations
SERIES = ("#2f6690", "#cf5c36", "#5f8f3e", "#8367c7", "#b0892a", "#c2447e", "#3a9d9d", "#7a5c3e")
SPLITS = dict(zip(("training", "validation", "test", "evaluation network", "search network"), SERIES, strict=False))
AIMS = {"expected": SERIES[0], "derived": SERIES[1], "target": ACCENT}
HEAT = ("#ffffff", "#dbe3ec", "#9fb3c8", "#56708f", "#1f3a5a")  # a mixing weight from nothing to everything

_LISTED_ON_DARK = {
    PAPER: "#191d22",
    INK: "#e8ebee",
    MUTED: "#9aa4af",
    ACCENT: "#5cc79d",
    LINE: "#323941",
    WASH: "#242a31",
    FAINT: "#5d6670",
    HEAT[1]: "#26323f",
    HEAT[2]: "#42586f",
    HEAT[3]: "#7f9dbb",
    HEAT[4]: "#dfeaf5",
}

# Prefix of the operation's name, and its shades for kernels up to 1, 3, 5 and 7; the first match decides.
_FAMILIES: tuple[tuple[str, tuple[str, str, str, str]], ...] = (
    (r"none|zero", (FAINT,) * 4),
    (r"skip|identity", ("#697380",) * 4),
    (r"avg_?pool", ("#a97a08", "#a97a08", "#8f6606", "#755205")),
    (r"max_?pool|pool", ("#cc6414", "#cc6414", "#ad4d0c", "#8f3d08")),
    (r"dil", ("#a06bdd", "#8a55d0", "#6d37b5", "#51258f")),
    (r"sep|dw|depthwise", ("#4a90dc", "#2f78c9", "#1f589f", "#173f74")),
    (r"(nor_)?conv_\d+x1_1x\d+", ("#7c9a22", "#6c8c1b", "#5a7817", "#496413")),
    (r"(nor_)?conv", ("#23a08f", "#13806f", "#0d6759", "#094c42")),
    (r"k\d+e[1-4]", ("#4a90dc", "#2f78c9", "#1f589f", "#173f74")),  # inverted residuals: narrow
    (r"k\d+e", ("#a06bdd", "#8a55d0", "#6d37b5", "#51258f")),  # and wide
    (r"shuffle_\d", ("#23a08f", "#13806f", "#0d6759", "#094c42")),
)
_FREE_HUES = (338, 192, 6, 312)  # degrees that no family occupies


def operation_color(name: str) -> str:
    """Return the color of an operation: the hue tells its family, the shade the size of its kernel.

    A name of no known family gets a color of its own that depends on nothing but the name.
    """
    for prefix, shades in _FAMILIES:
        if re.match(prefix, name):
            kernel = max((int(side) for side in re.findall(r"\d+", re.sub(r"e\d+$", "", name))), default=1)
            return shades[min(kernel, 7) // 2]
    family, variant = zlib.crc32(re.split(r"[\d_]", name, maxsplit=1)[0].encode()), zlib.crc32(name.encode())
    hue = _FREE_HUES[family % len(_FREE_HUES)] + variant % 21 - 10
    return _to_hex(hue / 360, 0.3 + variant // 21 % 20 / 100, 0.55)


def operation_colors(names: Sequence[str]) -> tuple[str, ...]:
    """Return the colors of the candidates of one choice; of numbers, which belong to no family, one for each place."""
    if all(re.fullmatch(r"[\d./]+", name) for name in names):
        return tuple(SERIES[at % len(SERIES)] for at in range(len(names)))
    return tuple(map(operation_color, names))


def line_color(name: str, at: int) -> str:
    """Return the color of a line: that of its name, where the name has one, else that of its place."""
    return {**SPLITS, **AIMS}.get(name, SERIES[at % len(SERIES)])


def on_dark(color: str) -> str:
    """Return the variant of a color for dark screens: the listed one, or the same hue, lighter."""
    if color in _LISTED_ON_DARK:
        return _LISTED_ON_DARK[color]
    red, green, blue = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    return _to_hex(hue, 0.42 + 0.55 * lightness, 0.9 * saturation)


LEVELS = 16
"""Shades of a heat map."""


def shades(colors: Sequence[str]) -> list[str]:
    """Return the colors of all levels of a heat map: those given, and what lies between them."""
    parts = [[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in colors]
    mixed = []
    for level in range(LEVELS):
        place = level / (LEVELS - 1) * (len(parts) - 1)
        at = min(int(place), len(parts) - 2)
        pairs = zip(parts[at], parts[at + 1], strict=True)
        mixed.append("#" + "".join(f"{round(a + (place - at) * (b - a)):02x}" for a, b in pairs))
    return mixed


def _to_hex(hue: float, lightness: float, saturation: float) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue % 1, lightness, saturation))
