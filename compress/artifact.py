"""The artifact that stages pass on, and its storage."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn
from torch.export import ExportedProgram

from compress.folders.writing import write_atomic
from compress.record import StageRecord
from models.counts import count_macs, count_parameters
from models.layers import BatchNorm
from models.spec import ClipSpec

STAGE_FILES = (
    *("artifact.json", "weights.safetensors", "program.pt2", "step.pt2", "test_logits.safetensors"),
    *("checkpoint.pt", "*/checkpoint.pt"),
)
"""Names of files in the folder of a stage, including checkpoints of an unfinished one."""


class Form(StrEnum):
    """Kind of the network in an artifact."""

    FLOAT = "float"
    """A trainable `nn.Module` in float32."""
    QUANTIZED = "quantized"
    """The torch int8 reference: a graph of `quantized_decomposed` operators, no longer trainable."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Parameters, and multiply-accumulate operations for one clip."""

    parameters: int
    macs: int


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A network with the spec of its inputs and the record of the stages that made it."""

    model: nn.Module
    """In eval mode; stages do not modify their input."""
    spec: ClipSpec
    form: Form = Form.FLOAT
    streams: bool = False
    """Whether exported files also hold a step program."""
    step: ExportedProgram | None = None
    """The int8 reference for one frame, of a quantized streaming artifact."""
    history: tuple[StageRecord, ...] = ()


def size_of(model: nn.Module, spec: ClipSpec) -> Size:
    """Parameters and MACs for one clip, counted by `models.counts`."""
    return Size(parameters=count_parameters(model), macs=count_macs(model, spec))


def weights_sha256(model: nn.Module) -> str:
    """Hex SHA-256 of names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_artifact(artifact: Artifact, folder: Path) -> None:
    """Writes the weights (safetensors) or the quantized program (`torch.export`) and a description."""
    if artifact.form is Form.FLOAT:
        # Copies: layers may share a tensor, which the format does not support.
        state = artifact.model.state_dict()
        weights = {name: value.cpu().contiguous().clone() for name, value in state.items()}
        write_atomic(folder / "weights.safetensors", save(weights))
    else:
        program = torch.export.export(artifact.model, artifact.spec.example())
        _save_program(program, folder / "program.pt2")
        if artifact.step is not None:
            _save_program(artifact.step, folder / "step.pt2")
    description = {
        "form": artifact.form,
        "streams": artifact.streams,
        "spec": artifact.spec.to_dict(),
        "history": list(artifact.history),
    }
    write_atomic(folder / "artifact.json", json.dumps(description, indent=2))


def _save_program(program: ExportedProgram, path: Path) -> None:
    """Serializes in memory first: torch's own writer aborts the process on a full disk."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    write_atomic(path, buffer.getvalue())


def load_artifact(folder: Path, build: Callable[[], nn.Module]) -> Artifact:
    """Loads an artifact written by `save_artifact`; `build` constructs the network before pruning."""
    description = json.loads((folder / "artifact.json").read_text())
    form = Form(description["form"])
    step = None
    if form is Form.FLOAT:
        model = build()
        load_resized(model, load_file(folder / "weights.safetensors"))
        model.eval()
    else:
        import torchao.quantization.pt2e  # noqa: F401  registers the quantized_decomposed operators

        model = torch.export.load(folder / "program.pt2").module()
        if (folder / "step.pt2").is_file():
            step = torch.export.load(folder / "step.pt2")
    return Artifact(
        model=model,
        spec=ClipSpec.from_dict(description["spec"]),
        form=form,
        streams=description["streams"],
        step=step,
        history=tuple(description["history"]),
    )


def load_resized(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Loads weights into a network after its channels are reduced to the shapes of the weights.

    Layers and plain parameters are resized as by structured pruning; a depthwise convolution stays depthwise, and
    the number of heads of `Attention` follows from its weights. Raises `ValueError` when names or numbers of axes
    do not match.
    """
    for name, module in model.named_modules():
        changed = False
        for kind, old in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            value = weights.get(f"{name}.{kind}" if name else kind)
            if value is None or value.shape == old.shape:
                continue
            if value.dim() != old.dim():
                raise ValueError(
                    f"cannot resize {kind} of {name} ({type(module).__name__}) from {tuple(old.shape)} to "
                    f"{tuple(value.shape)}; pruning keeps the number of axes"
                )
            changed = True
            empty = torch.empty_like(value)
            # By assignment: recurrent layers have a list of their weights, which they update then.
            setattr(module, kind, nn.Parameter(empty) if isinstance(old, nn.Parameter) else empty)
        if changed:
            _adopt_sizes(module)
    expected = set(model.state_dict())
    if expected != set(weights):
        missing, surplus = sorted(expected - set(weights)), sorted(set(weights) - expected)
        raise ValueError(
            f"the weights do not match this network: {len(missing)} missing (first: {missing[:3]}), "
            f"{len(surplus)} unknown (first: {surplus[:3]})"
        )
    model.load_state_dict(weights)


def _adopt_sizes(module: Any) -> None:
    """Sets the sizes of a layer to the shape of its weight."""
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        if module.groups == module.in_channels > 1:
            module.groups = module.weight.shape[0] // (module.out_channels // module.groups)
        module.out_channels, module.in_channels = (
            module.weight.shape[0],
            module.weight.shape[1] * module.groups,
        )
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, BatchNorm):
        module.num_features = 0 if module.running_mean is None else len(module.running_mean)
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = len(module.weight)
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)
    elif isinstance(module, nn.RNNBase):
        inputs, recurrent = module.all_weights[0][:2]
        module.hidden_size, module.input_size = recurrent.shape[1], inputs.shape[1]
        if module.proj_size:
            module.hidden_size, module.proj_size = module.all_weights[0][-1].shape[1], recurrent.shape[1]
    elif isinstance(module, nn.MultiheadAttention):
        module.embed_dim = module.kdim = module.vdim = module.in_proj_weight.shape[1]
        module.head_dim = module.embed_dim // module.num_heads
