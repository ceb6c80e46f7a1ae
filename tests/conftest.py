"""Settings for all tests."""

import gc
import signal

import hypothesis
import pytest
import torch

from ramify import imports

# Most tensors here are tiny: more threads would only wait for each other, and a busy machine makes that very slow.
torch.set_num_threads(1)

# In the background of a shell interrupts are ignored, and so they would be by the commands that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("ramify", deadline=None, print_blob=True)
hypothesis.settings.load_profile("ramify")


def pytest_collection_finish():
    """Thousands of tests stay in memory; the collector of garbage need not look at them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _what_a_test_imports_ends_with_it():
    yield
    imports.forget()


@pytest.fixture(autouse=True)
def _same_draws_every_time():
    torch.manual_seed(0)
