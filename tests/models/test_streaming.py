import pytest
import torch

from models.spec import COUNT_STATE, describe_state
from models.streaming import CausalConv, Memory, past_means, shifted


def test_past_means_average_over_the_frames_so_far():
    features = torch.randn(2, 3, 5)
    expected = features.cumsum(2) / torch.tensor([1.0, 2, 3, 4, 5])
    torch.testing.assert_close(features @ past_means(5, like=features), expected)


def test_a_running_mean_of_a_stream_is_that_of_the_clip():
    clip = torch.randn(2, 3, 5, 1, 1)
    expected = Memory().running_mean(clip)
    state = {COUNT_STATE: torch.zeros(1, dtype=torch.int64), "mean_0": torch.zeros(2, 3)}
    for frame in range(5):
        memory = Memory(state)
        given = memory.running_mean(clip[:, :, frame : frame + 1])
        torch.testing.assert_close(given, expected[:, :, frame : frame + 1])
        state = memory.kept
    assert state[COUNT_STATE] == 5


def test_frames_are_shifted_without_a_change():
    clip = torch.randn(1, 2, 4, 3, 3)
    assert shifted(clip, later=True).equal(clip[:, :, :-1])
    assert shifted(clip, later=False).equal(clip[:, :, 1:])


def test_a_causal_convolution_remembers_as_many_frames_as_it_reaches_back():
    memory = Memory()
    CausalConv(4, kernel=(5, 3, 3))(torch.randn(1, 4, 6, 8, 8), memory)
    CausalConv(4, kernel=(1, 3, 3))(torch.randn(1, 4, 6, 8, 8), memory)
    assert {name: tuple(value.shape) for name, value in memory.kept.items()} == {
        f"past_0_{ago}": (1, 4, 1, 64) for ago in (4, 3, 2, 1)
    }


def test_frames_of_the_past_grow_older_without_a_copy():
    state = {COUNT_STATE: torch.zeros(1, dtype=torch.int64)}
    state |= {f"past_0_{ago}": torch.randn(1, 2, 1, 9) for ago in (2, 1)}
    memory, frame = Memory(state), torch.randn(1, 2, 1, 3, 3)
    seen = memory.with_past(frame, 2)
    assert memory.kept["past_0_2"] is state["past_0_1"]
    assert memory.kept["past_0_1"].view_as(frame).equal(frame)
    assert seen[:, :, 0].flatten(2).equal(state["past_0_2"][:, :, 0])


@pytest.mark.parametrize("state", [torch.zeros(1, 1, 1, 1, 1), torch.zeros(1, dtype=torch.float16)])
def test_states_that_no_runtime_takes_are_refused(state):
    with pytest.raises(
        ValueError, match=r"state 'past' is .*; states are float32 or int64, of rank 4 at most"
    ):
        describe_state({"past": state})
