"""Video classifiers of Hugging Face transformers as video encoders, built from their configuration.

VideoMAE, TimeSformer, ViViT and V-JEPA 2; the package is optional: `pip install '.[transformers]'` in a checkout.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from models.layers import Normalise
from models.spec import ClipSpec, VideoSpec

_SIZE_KEYS = {
    "videomae": ("num_frames", "image_size"),
    "timesformer": ("num_frames", "image_size"),
    "vivit": ("num_frames", "image_size"),
    "vjepa2": ("frames_per_clip", "crop_size"),
}
"""Keys of the configuration for frames and pixels of a clip, by family."""


@dataclass(frozen=True, kw_only=True)
class HuggingFaceOptions:
    """A video classifier of the package transformers."""

    config: dict[str, Any] | Path
    """Configuration: path of a `config.json`, or its keys; `model_type` is videomae, timesformer, vivit or
    vjepa2. Frames and size of a clip are added if the configuration has none."""


class HuggingFaceEncoder(nn.Module):
    """Clip `N 3 T H W` -> `N features`: the input of the model's classifier."""

    def __init__(self, video: VideoSpec, model: nn.Module) -> None:
        super().__init__()
        self.normalise = Normalise(video.mean, video.std)
        classifier = model.get_submodule("classifier")
        assert isinstance(classifier, nn.Linear)
        self.features = classifier.in_features
        model.classifier = nn.Identity()
        self.model = model
        self.input_name = str(model.main_input_name)

    def forward(self, clip: Tensor) -> Tensor:
        """Features of the normalised frames."""
        frames = self.normalise(clip).transpose(1, 2)
        return self.model(**{self.input_name: frames}).logits


def huggingface(spec: ClipSpec, options: HuggingFaceOptions) -> HuggingFaceEncoder:
    """The encoder of the configuration, with random weights; nothing is downloaded.

    Raises `ImportError` without transformers, `ValueError` for another family or for clips of another size.
    """
    assert spec.video is not None
    config = _configuration(options.config)
    family = config.pop("model_type", None)
    if family not in _SIZE_KEYS:
        raise ValueError(
            f"the configuration's model_type is {family!r}; supported video encoders of Hugging Face are "
            f"{', '.join(_SIZE_KEYS)}"
        )
    for key, value in zip(_SIZE_KEYS[family], (spec.video.frames, spec.video.size), strict=True):
        if config.setdefault(key, value) != value:
            raise ValueError(
                f"{family} is configured with {key} {config[key]}, but clips have {value}: make the recipe's "
                "section clip and the configuration agree"
            )
    try:
        from transformers import AutoConfig, AutoModelForVideoClassification
    except ImportError as error:
        raise ImportError(
            "the video encoder huggingface needs transformers: pip install '.[transformers]' in a checkout of "
            f"Pocketreel ({error})"
        ) from error
    model = AutoModelForVideoClassification.from_config(AutoConfig.for_model(family, **config))
    return HuggingFaceEncoder(spec.video, model)


def _configuration(given: dict[str, Any] | Path) -> dict[str, Any]:
    """The keys of a configuration, read from a file if a path is given."""
    if isinstance(given, dict):
        return dict(given)
    if not given.is_file():
        raise ValueError(f"{given}: no such file; config is the path of a config.json, or its keys")
    found: dict[str, Any] = json.loads(given.read_text(encoding="utf-8"))
    return found
