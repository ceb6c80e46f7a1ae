"""Imported by the process from which `killing` forks: a small search loads what is loaded only where it is used."""

import tempfile
from pathlib import Path

import optuna  # noqa: F401

import killing  # noqa: F401
from ramify.cli import main
from small_runs import words_of

with tempfile.TemporaryDirectory() as _folder:
    main(["search", *words_of("nasbench201", "GDAS", Path(_folder) / "run")])
