"""Which addresses a process and its children listen on, as the kernel says it."""

import os
import socket
import struct
from pathlib import Path

LISTENS = "0A"


def addresses(roots):
    """Return the addresses on which the processes `roots` and all that they started listen, as texts."""
    inodes = {}
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENS:
                inodes[fields[9]] = _text(fields[1].partition(":")[0], family)
    return {inodes[inode] for process in _family(roots) for inode in _sockets(process) if inode in inodes}


def _text(digits, family):
    words = struct.pack(f"={len(digits) // 8}I", *(int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)))
    return socket.inet_ntop(family, words)


def _family(roots):
    found, parents = set(roots), {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    while further := {process for process, parent in parents.items() if parent in found} - found:
        found |= further
    return found


def _sockets(process):
    for path in Path(f"/proc/{process}/fd").glob("*"):
        try:
            kind, _, inode = str(path.readlink()).partition("[")
        except OSError:
            continue
        if kind == "socket:":
            yield inode.rstrip("]")


def only_loopback(found):
    """Return whether there are addresses, and all of them are those of this machine alone."""
    return bool(found) and all(a.startswith("127.") or a in ("::1", "::ffff:127.0.0.1") for a in found)


if __name__ == "__main__":
    print(*sorted(addresses({os.getpid()})), sep="\n")
