"""Write `networks.md`: which networks of torchvision and timm adapt, and what of them.

python docs/networks.py             # all of them, for an hour or so
python docs/networks.py resnet18    # some; the rows of the others stay
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("networks.md")

HEAD = """\
# Networks that adapt

What [`AnyNetwork`](any_network.md) finds in networks of torchvision and timm, with new weights, on images of 3×224×224.
Every group was proved: its units permuted, and members cut out of the network beside the masked one. *Form* 1 is the
network's own class with smaller tensors, 2 its exported graph, where its code writes sizes down. *Whole* are the groups
that stay whole, without the output; *removed* is the largest relative difference between members cut out and masked.
The page is written by `python docs/networks.py`.

| network | groups | units | form | whole | stages | removed | params at the least |
|---|---|---|---|---|---|---|---|
"""

HOMES = {
    "torchvision": """
        resnet18 resnet50 mobilenet_v2 mobilenet_v3_small densenet121 shufflenet_v2_x1_0 regnet_y_400mf googlenet
        convnext_tiny swin_t vit_b_32 efficientnet_b0 squeezenet1_0 vgg11_bn
    """,
    "timm": """
        deit_tiny_patch16_224 mobilenetv4_conv_small ghostnet_100 mixnet_s fastvit_t8 edgenext_xx_small levit_128s
        pvt_v2_b0 res2net50_26w_4s efficientformer_l1 xcit_nano_12_p16_224 repvgg_a0 convmixer_768_32 poolformer_s12
        mixer_s32_224
    """,
}
NAMES = {name: f"{home}:{name}" for home, names in HOMES.items() for name in re.findall(r"\w+", names)}

LIMIT_S = 3600
"""For one network."""


def row(name: str) -> str:
    """Return the row of a network, or why it has none."""
    from ramify.spaces import AnyNetwork

    try:
        found = AnyNetwork(NAMES[name])._elastic
    except Exception as error:  # whatever is wrong with it stands on the page
        return f"| `{name}` | {str(error).replace('|', '/')} | | | | | | |"
    assert found is not None
    units = sum(group.units for group in found.groups)
    whole = [group for group, reason in found.whole.items() if reason != "output"]
    share = found.params.range()[0] / found.params.range()[1]
    cells = (
        *(f"`{name}`", len(found.groups), f"{units:,}", 1 if found.graphs is None else 2, ", ".join(whole) or "–"),
        *(len(found.stages), f"{found.proof.removed:.0e}", f"{share:.0%}"),
    )
    return f"| {' | '.join(map(str, cells))} |"


def rows() -> dict[str, str]:
    """Return the rows that the page has."""
    lines = PAGE.read_text().splitlines() if PAGE.exists() else []
    named = ((re.match(r"\| `(\w+)` \|", line), line) for line in lines)
    return {found[1]: line for found, line in named if found}


def main(names: list[str]) -> None:
    """Look at networks, each in a process of its own, and write the page after each of them."""
    for name in names or NAMES:
        command = [sys.executable, __file__, "--row", name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True)
            line = done.stdout.splitlines()[-1]
        except (subprocess.SubprocessError, IndexError) as error:
            line = f"| `{name}` | {type(error).__name__} | | | | | | |"
        found = rows() | {name: line}
        PAGE.write_text(HEAD + "".join(f"{found[known]}\n" for known in NAMES if known in found))
        print(line, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--row"]:
        print(row(sys.argv[2]))
    else:
        main(sys.argv[1:])
