"""Tables of measured architectures, looked up instead of trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ramify import verbs
from ramify.errors import RamifyError, nearest
from ramify.wording import sentence

if TYPE_CHECKING:
    from ramify.commandline import Command


def run(command: Command) -> int:
    """Run the sub-verb of `ramify bench` that was called."""
    summaries = verbs.listed("bench")
    name = command.words[0] if command.words else "help"
    if name in ("-h", "--help", "help"):
        width = max(map(len, summaries))
        listing = "\n".join(f"  {verb:<{width}}  {text}" for verb, text in summaries.items())
        print(f"usage: ramify bench SUBVERB [options]\n\n{sentence(command.summary)}.\n\n{listing}\n")
        print("`ramify bench SUBVERB --help` lists the options of a sub-verb.")
        return 0
    if name not in summaries:
        raise RamifyError(f"unknown sub-verb {name!r} of bench; {nearest(name, summaries)}")
    return verbs.run(command.below(name, summaries[name]))
