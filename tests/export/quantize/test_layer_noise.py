import pytest
import torch
from torch import nn

from export.capture.graph import capture
from export.lower import lower
from export.quantize.int8_reference import calibrate, convert, prepare
from export.quantize.layer_noise import rank_layers

pytestmark = pytest.mark.slow

CLIPS = [(torch.rand(1, 3, 2, 8, 8, generator=torch.Generator().manual_seed(k)),) for k in range(3)]


class OneLoudChannel(nn.Module):
    """Three layers; one channel of the second is far larger than the others, which leaves these few int8 steps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.loud, self.last = (nn.Conv3d(k, 4, 1) for k in (3, 4, 4))
        with torch.no_grad():
            self.loud.weight[0] *= 300

    def forward(self, clip):
        x = self.loud(torch.relu(self.first(clip)))
        return self.last(x / x.new_tensor([300, 1, 1, 1]).reshape(1, 4, 1, 1, 1)).mean((2, 3, 4))


@pytest.fixture(scope="module")
def graphs():
    torch.manual_seed(0)
    lowered = lower(capture(OneLoudChannel(), CLIPS[0]))
    prepared = prepare(lowered)
    calibrate(prepared, CLIPS)
    return lowered, convert(prepared)


def test_layers_are_ranked_by_their_cost_and_have_the_users_names(graphs):
    ranked = rank_layers(*graphs, CLIPS)
    assert [layer.alone_sqnr_db for layer in ranked] == sorted(layer.alone_sqnr_db for layer in ranked)
    by_module = {layer.module: layer for layer in ranked if layer.module}
    assert set(by_module) == {"first", "loud", "last"}
    loud, last, first = (by_module[name] for name in ("loud", "last", "first"))
    (divided,) = (layer for layer in ranked if layer.operator == "mul")
    assert "test_layer_noise.py" in divided.place and "x / x.new_tensor" in divided.place
    # The quotient shows the noise of the large channel's steps, which it does not cause.
    assert divided.sqnr_db < first.sqnr_db - 10
    assert ranked[0] == loud and loud.alone_sqnr_db < divided.alone_sqnr_db
    # Nor does the last layer cause the noise of the layers before it.
    assert last.own_sqnr_db > last.sqnr_db + 10
    assert first.own_sqnr_db == pytest.approx(first.sqnr_db, abs=1)


def test_a_clamp_that_the_reference_leaves_out_is_no_error(graphs):
    _, reference = graphs
    assert not any(node.target is torch.ops.aten.relu.default for node in reference.graph.nodes)
    (first,) = (layer for layer in rank_layers(*graphs, CLIPS) if layer.module == "first")
    assert first.sqnr_db > 30


def test_without_inputs_or_with_another_network_there_is_nothing_to_rank(graphs):
    lowered, reference = graphs
    with pytest.raises(ValueError, match="there is no input to rank the layers by"):
        rank_layers(lowered, reference, [])
    other = lower(capture(nn.Sequential(nn.MaxPool3d((1, 8, 8)), nn.Flatten()), CLIPS[0]))
    with pytest.raises(
        ValueError, match=r"the reference has a layer 'conv2d' .* that is not in the float graph"
    ):
        rank_layers(other, reference, CLIPS)
