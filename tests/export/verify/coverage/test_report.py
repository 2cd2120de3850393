import json

import pytest

from export.verify.coverage.report import Coverage, LeftBehind

LSTM = LeftBehind(node="lstm", operator="lstm", macs=25, reason="no kernel", place="net.py:3 `self.lstm(x)`")


def coverage(**changes):
    facts = {"macs": 100, "accelerated_macs": 75, "partitions": 2, "left": (LSTM,), "source": "a table"}
    return Coverage(**{**facts, **changes})


def test_the_share_is_that_of_the_multiply_adds():
    assert coverage().share == 0.75
    assert coverage(macs=0, accelerated_macs=0).share == 1.0


def test_it_becomes_plain_data_with_every_node_left_behind():
    data = json.loads(json.dumps(coverage().to_dict()))
    assert data["share"] == 0.75 and data["partitions"] == 2
    assert data["left"] == [
        {
            "node": "lstm",
            "operator": "lstm",
            "macs": 25,
            "reason": "no kernel",
            "place": "net.py:3 `self.lstm(x)`",
        }
    ]


@pytest.mark.parametrize("accelerated", [-1, 101])
def test_counts_that_contradict_each_other_are_refused(accelerated):
    with pytest.raises(ValueError, match=f"{accelerated} accelerated among 100 multiply-adds"):
        coverage(accelerated_macs=accelerated)
