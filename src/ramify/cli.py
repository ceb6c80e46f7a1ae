"""The command line: `ramify VERB …` runs the verb of that name in `ramify/verbs`.

Only the verb that was called is imported, so `ramify --help` is there at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ramify import parallel, verbs
from ramify.errors import RamifyError, nearest
from ramify.signals import EXIT_INTERRUPTED, INTERRUPTED, answered

EXIT_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        from ramify import __version__

        print(f"ramify {__version__}")
        return 0
    verb, rest = words[0], words[1:]
    name = "ramify"
    if not parallel.is_first():  # started by torchrun: results are printed once, and errors say whose they are
        name = f"ramify (process {parallel.rank()})"
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 -- until this process ends
    try:
        return _run(verb, rest)
    except RamifyError as error:
        print(f"{name}: {_cut(' '.join(str(error).split()))}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt as interruption:
        print(f"{name}: {str(interruption) or INTERRUPTED}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `ramify … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error).lower():
            raise
        print(f"{name}: there is not enough memory: {str(error).splitlines()[0][:160]}", file=sys.stderr)
        return EXIT_ERROR
    except OSError as error:
        line = f"{error.filename or 'file system'}: {error.strerror or error}"
        print(f"{name}: {_cut(' '.join(line.split()))}", file=sys.stderr)
        return EXIT_ERROR


def _run(verb: str, words: Sequence[str]) -> int:
    summaries = verbs.listed()
    if verb not in summaries:
        raise RamifyError(f"unknown verb {verb[:40]!r}; {nearest(verb, summaries)}")
    from ramify.commandline import Command

    return verbs.run(Command(verb, summaries[verb], words))


_LONGEST = 290  # characters of a message


def _cut(text: str) -> str:
    """Return a text as one line that is not too long."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[3 - _LONGEST // 2 :]}"


def _overview() -> str:
    summaries = verbs.listed()
    width = max(map(len, summaries))
    listing = "\n".join(f"  {verb:<{width}}  {text}" for verb, text in summaries.items())
    return (
        "Ramify: neural architecture search on PyTorch.\n\n"
        f"usage: ramify VERB [options]\n\n{listing}\n\n"
        "`ramify VERB --help` lists the options of a verb. A first look: `ramify demo`."
    )


if __name__ == "__main__":
    sys.exit(answered(main))
