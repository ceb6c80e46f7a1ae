"""The real 12-epoch table, where it is at hand, and a small one that always is."""

from pathlib import Path

import pytest

from ramify.benchmarks import import_csv
from small_tables import small

REAL = Path(__file__).parents[2] / "../shared/data/nasbench201.csv.gz"


@pytest.fixture(scope="session")
def real_csv():
    if not REAL.exists():
        pytest.skip(f"{REAL} is not here")
    return REAL


@pytest.fixture(scope="session")
def real_table(real_csv):
    return import_csv(real_csv)


@pytest.fixture
def small_table():
    return small()
