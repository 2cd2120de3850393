import numpy as np
import pytest

from benchmarks.long_video.aggregate import Aggregate, softmax

WINDOWS = [([0.6, 0.3, 0.1], 1.0), ([0.4, 0.5, 0.1], 3.0), ([0.9, 0.0, 0.1], 1.0)]


def joined(kind):
    aggregate = Aggregate(kind, classes=3)
    for probabilities, seconds in WINDOWS:
        aggregate.add(np.array(probabilities), seconds=seconds)
    return aggregate.scores


def test_mean_counts_every_second_alike():
    assert joined("mean") == pytest.approx([(0.6 + 3 * 0.4 + 0.9) / 5, (0.3 + 1.5) / 5, 0.1])


def test_max_keeps_the_largest_probability_of_each_class():
    assert joined("max") == pytest.approx([0.9, 0.5, 0.1])


def test_vote_weighs_each_windows_winner_by_its_probability_and_length():
    assert joined("vote") == pytest.approx([1.5 / 3.0, 1.5 / 3.0, 0.0])


def test_softmax_does_not_overflow():
    assert softmax(np.array([1e4, 1e4, -1e4])) == pytest.approx([0.5, 0.5, 0.0])
