"""An epoch's means weigh each step by its samples."""

import pytest

from hitagu_lib.training.meters import EpochTally


def test_a_step_counts_by_its_samples_and_a_value_by_the_steps_that_have_it() -> None:
    """In the second step each clip is also repeated backwards."""
    tally = EpochTally()
    tally.add({"loss": 1.0}, 8, 8)
    tally.add({"loss": 4.0, "grad_norm": 2.0}, 2, 4)
    assert tally.means() == pytest.approx({"loss": 2.0, "grad_norm": 2.0})
    assert (tally.steps, tally.clips) == (2, 10)
