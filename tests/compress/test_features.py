"""Features of any network by the names of its modules."""

import pytest
import torch
from torch import nn

from compress.features import WithFeatures, check_names, feature_sizes, watched

CLIP = (torch.randn(2, 3, 4, 8, 8),)


class Frames(nn.Module):
    """Frame by frame: a map, tokens, and steps of a recurrent network."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.tokens = nn.Linear(5, 6)
        self.steps = nn.LSTM(6, 7, batch_first=True)
        self.unused = nn.Linear(1, 1)
        self.head = nn.Linear(7, 3)

    def forward(self, clip):
        frames = self.stem(clip.transpose(1, 2).flatten(0, 1))  # N*T C H W
        tokens = self.tokens(frames.flatten(2).transpose(1, 2))  # N*T L C
        steps = self.steps(tokens.mean(1).unflatten(0, (len(clip), -1)))[0]  # N T C
        return self.head(steps.mean(1))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Frames().eval()


def test_maps_of_frames_and_tokens_have_one_row_per_clip_and_channels_first(model):
    sizes = feature_sizes(model, CLIP, ("head", "stem", "tokens"))
    assert [*sizes.items()] == [("head", (3,)), ("stem", (5, 4, 4, 4)), ("tokens", (6, 4 * 16))]
    with watched(model, ("stem", "tokens")) as found:
        model(*CLIP)
    second = model.stem(CLIP[0][1].transpose(0, 1))  # the frames of the second clip, T C H W
    torch.testing.assert_close(found["stem"][1], second.transpose(0, 1))
    torch.testing.assert_close(found["tokens"][1, :, :16], model.tokens(second[0].flatten(1).T).T)


def test_a_network_returns_its_features_after_the_logits_from_one_pass(model):
    logits, stem = WithFeatures(model, ("stem",), columns=1)(*CLIP)
    torch.testing.assert_close(logits, model(*CLIP))
    assert stem.shape == (2, 5, 4, 4, 4)


def test_an_unknown_name_is_refused_with_the_names_there_are_nearest_first(model):
    with pytest.raises(
        ValueError, match=r"Frames has no module 'step'; its modules, nearest first: ste(m|ps), ste"
    ):
        check_names(model, ["step"])
    many = nn.Sequential(*(nn.Identity() for _ in range(20)))
    with pytest.raises(ValueError, match="and 8 more; embedding is the input of its classifiers"):
        check_names(many, ["stem"])


def test_a_module_that_gives_no_feature_is_refused(model):
    with pytest.raises(
        ValueError, match="the module 'steps' returns tuple; name one that returns one tensor"
    ):
        feature_sizes(model, CLIP, ("steps",))
    with pytest.raises(ValueError, match="the forward pass of Frames does not call its module 'unused'"):
        feature_sizes(model, CLIP, ("unused",))
    flat = nn.Sequential(nn.Flatten(0), nn.Linear(CLIP[0].numel(), 6))
    with pytest.raises(
        ValueError, match=r"'0' returns a tensor of shape \[1536\] for 2 clips; .* row per clip"
    ):
        feature_sizes(flat, CLIP, ("0",))


def test_a_network_without_classifiers_of_ours_has_no_embedding(model):
    with pytest.raises(
        ValueError, match=r"Frames has 0 modules .*; name one of its modules instead of embedding: "
    ):
        check_names(model, ["embedding"])
