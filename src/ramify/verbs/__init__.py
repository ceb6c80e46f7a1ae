"""The verbs, one file each: the function, its result, its options. Whatever lies here is a verb of the command line."""

from __future__ import annotations

import importlib
import re
from keyword import iskeyword
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:  # loading it would take longer than all else here
    from ramify.commandline import Command

_FIRST_LINE = re.compile(r'"""(.+?)\.?(?:"""|\n)')


def listed(verb: str = "") -> dict[str, str]:
    """Return the verbs, or the sub-verbs of one, and what they do; none of them is imported."""
    folder = Path(__file__).parent / verb
    summaries = {}
    for path in sorted(folder.iterdir()):
        file = path / "__init__.py" if path.is_dir() else path
        name = path.stem.removesuffix("_")  # `import_.py` is `import`, which no module can be called
        if path.stem != "__init__" and file.suffix == ".py" and file.is_file():
            with file.open(encoding="utf-8") as source:
                summaries[name] = _summary(source.readline())
    return summaries


def run(command: Command) -> int:
    """Run a verb, or a sub-verb, and return the exit code; it alone is imported."""
    *outer, name = command.name.split()
    module = ".".join([__name__, *outer, f"{name}_" if iskeyword(name) else name])
    return int(importlib.import_module(module).run(command))


def run_below(command: Command) -> int:
    """Run the sub-verb that the first word of a command names, or list what there is, and return the exit code."""
    from ramify.errors import RamifyError, nearest
    from ramify.wording import sentence

    summaries = listed(command.name)
    name = command.words[0] if command.words else "help"
    if name in ("-h", "--help", "help"):
        width = max(map(len, summaries))
        listing = "\n".join(f"  {verb:<{width}}  {text}" for verb, text in summaries.items())
        print(f"usage: ramify {command.name} SUBVERB [options]\n\n{sentence(command.summary)}.\n\n{listing}\n")
        print(f"`ramify {command.name} SUBVERB --help` lists the options of a sub-verb.")
        return 0
    if name not in summaries:
        raise RamifyError(f"unknown sub-verb {name!r} of {command.name}; {nearest(name, summaries)}")
    return run(command.below(name, summaries[name]))


def _summary(line: str) -> str:
    """Return the first line of a docstring as it stands in a list: without a period, names with their capitals."""
    parts = _FIRST_LINE.match(line)
    text = parts[1] if parts else ""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
