"""An epoch's means weigh each step by its clips."""

import pytest

from hitagu_lib.training.meters import EpochTally


def test_a_step_counts_by_its_clips_and_a_value_by_the_steps_that_have_it() -> None:
    tally = EpochTally()
    tally.add({"loss": 1.0}, 8)
    tally.add({"loss": 4.0, "grad_norm": 2.0}, 2)
    assert tally.means() == pytest.approx({"loss": 1.6, "grad_norm": 2.0})
    assert (tally.steps, tally.clips) == (2, 10)
