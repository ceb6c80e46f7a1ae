"""What was proved of a user's network, kept in the folder of a run, so that whoever goes on with it needs no proof."""

from __future__ import annotations

from pathlib import Path

from ramify import reading
from ramify.elastic import verdicts
from ramify.errors import RunError
from ramify.run.folder import RunFolder
from ramify.spaces import AnyNetwork, Space

PROOF = "proof.json"


def keep_proof(folder: RunFolder, space: Space) -> None:
    """Write what was proved of the network that is searched, if anything was."""
    if isinstance(space, AnyNetwork) and space.proof is not None and not (folder.path / PROOF).exists():
        folder.write_json(PROOF, space.proof)


def recall_proof(folder: str | Path | None) -> None:
    """Remember what was proved in a run of this folder; where there is nothing, or nothing sound, it is proved anew."""
    if folder is not None and (path := Path(folder) / PROOF).is_file():
        try:
            verdicts.recall(reading.text_of(path, error=RunError))
        except RunError:
            return
