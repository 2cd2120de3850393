"""Networks: torch only, no other package of this project.

A new network is one line in `TEACHERS` or `STUDENTS`; the contract tests run over both tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from models.audiovisual import audiovisual, audiovisual_tiny
from models.c3d import C3dOptions, c3d, c3d_tiny
from models.cnn_lstm import CnnLstmOptions, cnn_lstm, cnn_lstm_tiny
from models.i3d import I3dOptions, i3d, i3d_tiny
from models.lite0 import (
    Lite0Options,
    lite0_frames,
    lite0_frames_tiny,
    tsm_lite0,
    tsm_lite0_online,
    tsm_lite0_tiny,
)
from models.mobilenet2plus1d import mobilenet2plus1d, mobilenet2plus1d_small, mobilenet2plus1d_tiny
from models.mobilenet2plus1d_causal import mobilenet2plus1d_causal, mobilenet2plus1d_causal_tiny
from models.mobilenet3d import (
    MobileNet3dOptions,
    mobilenet3d,
    mobilenet3d_small,
    mobilenet3d_tiny,
    mobilenet3d_v1,
)
from models.mobilenet3d_v3 import MobileNet3dV3Options, mobilenet3d_v3, mobilenet3d_v3_tiny
from models.movinet import MovinetOptions, movinet_a0, movinet_a1, movinet_a2, movinet_tiny
from models.movinet_published import (
    PublishedMovinetOptions,
    movinet_a0_base,
    movinet_a0_stream,
    movinet_a1_base,
    movinet_a1_stream,
    movinet_a2_base,
    movinet_a2_stream,
    movinet_base_tiny,
    movinet_stream_tiny,
)
from models.resnet3d import ResNet3dOptions, r2plus1d_18, r2plus1d_tiny, r3d_18, r3d_tiny
from models.s3d import S3dOptions, s3d, s3d_tiny
from models.shufflenet3d import ShuffleNet3dOptions, shufflenet3d, shufflenet3d_tiny
from models.slowfast import SlowFastOptions, slowfast_r50, slowfast_tiny
from models.spec import ClipSpec
from models.teachers import ModularOptions, MultimodalOptions, modular, multimodal, multimodal_tiny
from models.tsm import tsm, tsm_online, tsm_tiny
from models.video_transformer import VideoTransformerOptions, video_transformer, video_transformer_tiny
from models.x3d import X3dOptions, x3d_m, x3d_s, x3d_tiny, x3d_xs


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network for recipes: `build(spec, options)` with an instance of `options`."""

    build: Callable[[ClipSpec, Any], nn.Module]
    options: type
    inputs: tuple[str, ...]
    """Supported inputs; a recipe may use fewer, but at least one."""
    streams: bool = False
    """Whether it has `step` and `initial_state` (`models.streaming`) and can run one frame at a time."""


TEACHERS: dict[str, Network] = {
    "multimodal": Network(build=multimodal, options=MultimodalOptions, inputs=("clip", "audio", "text")),
    "multimodal_tiny": Network(
        build=multimodal_tiny, options=MultimodalOptions, inputs=("clip", "audio", "text")
    ),
    "modular": Network(build=modular, options=ModularOptions, inputs=("clip", "audio", "text")),
}

STUDENTS: dict[str, Network] = {
    "mobilenet3d": Network(build=mobilenet3d, options=MobileNet3dOptions, inputs=("clip", "audio")),
    "mobilenet3d_small": Network(
        build=mobilenet3d_small, options=MobileNet3dOptions, inputs=("clip", "audio")
    ),
    "mobilenet3d_tiny": Network(build=mobilenet3d_tiny, options=MobileNet3dOptions, inputs=("clip", "audio")),
    "c3d": Network(build=c3d, options=C3dOptions, inputs=("clip",)),
    "c3d_tiny": Network(build=c3d_tiny, options=C3dOptions, inputs=("clip",)),
    "i3d": Network(build=i3d, options=I3dOptions, inputs=("clip",)),
    "i3d_tiny": Network(build=i3d_tiny, options=I3dOptions, inputs=("clip",)),
    "s3d": Network(build=s3d, options=S3dOptions, inputs=("clip",)),
    "s3d_tiny": Network(build=s3d_tiny, options=S3dOptions, inputs=("clip",)),
    "r3d_18": Network(build=r3d_18, options=ResNet3dOptions, inputs=("clip",)),
    "r3d_tiny": Network(build=r3d_tiny, options=ResNet3dOptions, inputs=("clip",)),
    "r2plus1d_18": Network(build=r2plus1d_18, options=ResNet3dOptions, inputs=("clip",)),
    "r2plus1d_tiny": Network(build=r2plus1d_tiny, options=ResNet3dOptions, inputs=("clip",)),
    "slowfast_r50": Network(build=slowfast_r50, options=SlowFastOptions, inputs=("clip",)),
    "slowfast_tiny": Network(build=slowfast_tiny, options=SlowFastOptions, inputs=("clip",)),
    "mobilenet3d_v1": Network(build=mobilenet3d_v1, options=MobileNet3dOptions, inputs=("clip", "audio")),
    "mobilenet3d_v3": Network(build=mobilenet3d_v3, options=MobileNet3dV3Options, inputs=("clip", "audio")),
    "mobilenet3d_v3_tiny": Network(
        build=mobilenet3d_v3_tiny, options=MobileNet3dV3Options, inputs=("clip", "audio")
    ),
    "mobilenet2plus1d": Network(build=mobilenet2plus1d, options=MobileNet3dOptions, inputs=("clip", "audio")),
    "mobilenet2plus1d_small": Network(
        build=mobilenet2plus1d_small, options=MobileNet3dOptions, inputs=("clip", "audio")
    ),
    "mobilenet2plus1d_tiny": Network(
        build=mobilenet2plus1d_tiny, options=MobileNet3dOptions, inputs=("clip", "audio")
    ),
    "x3d_xs": Network(build=x3d_xs, options=X3dOptions, inputs=("clip",)),
    "x3d_s": Network(build=x3d_s, options=X3dOptions, inputs=("clip",)),
    "x3d_m": Network(build=x3d_m, options=X3dOptions, inputs=("clip",)),
    "x3d_tiny": Network(build=x3d_tiny, options=X3dOptions, inputs=("clip",)),
    "shufflenet3d": Network(build=shufflenet3d, options=ShuffleNet3dOptions, inputs=("clip",)),
    "shufflenet3d_tiny": Network(build=shufflenet3d_tiny, options=ShuffleNet3dOptions, inputs=("clip",)),
    "movinet_a0": Network(build=movinet_a0, options=MovinetOptions, inputs=("clip",), streams=True),
    "movinet_a1": Network(build=movinet_a1, options=MovinetOptions, inputs=("clip",), streams=True),
    "movinet_a2": Network(build=movinet_a2, options=MovinetOptions, inputs=("clip",), streams=True),
    "movinet_tiny": Network(build=movinet_tiny, options=MovinetOptions, inputs=("clip",), streams=True),
    "movinet_a0_base": Network(build=movinet_a0_base, options=PublishedMovinetOptions, inputs=("clip",)),
    "movinet_a1_base": Network(build=movinet_a1_base, options=PublishedMovinetOptions, inputs=("clip",)),
    "movinet_a2_base": Network(build=movinet_a2_base, options=PublishedMovinetOptions, inputs=("clip",)),
    "movinet_base_tiny": Network(build=movinet_base_tiny, options=PublishedMovinetOptions, inputs=("clip",)),
    "movinet_a0_stream": Network(
        build=movinet_a0_stream, options=PublishedMovinetOptions, inputs=("clip",), streams=True
    ),
    "movinet_a1_stream": Network(
        build=movinet_a1_stream, options=PublishedMovinetOptions, inputs=("clip",), streams=True
    ),
    "movinet_a2_stream": Network(
        build=movinet_a2_stream, options=PublishedMovinetOptions, inputs=("clip",), streams=True
    ),
    "movinet_stream_tiny": Network(
        build=movinet_stream_tiny, options=PublishedMovinetOptions, inputs=("clip",), streams=True
    ),
    "mobilenet2plus1d_causal": Network(
        build=mobilenet2plus1d_causal, options=MobileNet3dOptions, inputs=("clip",), streams=True
    ),
    "mobilenet2plus1d_causal_tiny": Network(
        build=mobilenet2plus1d_causal_tiny, options=MobileNet3dOptions, inputs=("clip",), streams=True
    ),
    "audiovisual": Network(build=audiovisual, options=MobileNet3dOptions, inputs=("clip", "audio")),
    "audiovisual_tiny": Network(build=audiovisual_tiny, options=MobileNet3dOptions, inputs=("clip", "audio")),
    "tsm": Network(build=tsm, options=MobileNet3dOptions, inputs=("clip",)),
    "tsm_online": Network(build=tsm_online, options=MobileNet3dOptions, inputs=("clip",), streams=True),
    "tsm_tiny": Network(build=tsm_tiny, options=MobileNet3dOptions, inputs=("clip",), streams=True),
    "lite0_frames": Network(build=lite0_frames, options=Lite0Options, inputs=("clip",), streams=True),
    "lite0_frames_tiny": Network(
        build=lite0_frames_tiny, options=Lite0Options, inputs=("clip",), streams=True
    ),
    "tsm_lite0": Network(build=tsm_lite0, options=Lite0Options, inputs=("clip",)),
    "tsm_lite0_online": Network(build=tsm_lite0_online, options=Lite0Options, inputs=("clip",), streams=True),
    "tsm_lite0_tiny": Network(build=tsm_lite0_tiny, options=Lite0Options, inputs=("clip",), streams=True),
    "cnn_lstm": Network(build=cnn_lstm, options=CnnLstmOptions, inputs=("clip",)),
    "cnn_lstm_tiny": Network(build=cnn_lstm_tiny, options=CnnLstmOptions, inputs=("clip",)),
    "video_transformer": Network(build=video_transformer, options=VideoTransformerOptions, inputs=("clip",)),
    "video_transformer_tiny": Network(
        build=video_transformer_tiny, options=VideoTransformerOptions, inputs=("clip",)
    ),
}
