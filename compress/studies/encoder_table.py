"""`python -m compress.studies.encoder_table`: trains every small video encoder on every kind of task.

Uses generated clips of difficulty 0. Classes, things and tags are predicted from video alone; captions serve
retrieval only, so that every figure is that of the video encoder. Writes the table to `docs/teachers.md`. Exit
codes: 0 every figure reaches its floor, 1 one does not.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from compress.command import GATE_FAILED, only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.terminal import output

if not only_reads_arguments(__name__):
    import torch
    from torch import nn

    from compress.clip import ClipConfig
    from compress.data import Data, open_data
    from compress.folders.ledger import scratch_folder
    from compress.folders.locks import held
    from compress.folders.output import write_output_file
    from compress.sources.synthetic import SyntheticData
    from compress.studies.generated_blocks import check_page, with_block
    from compress.tasks import TaskCriterion, Truth, measure, task_names, with_tasks
    from compress.training import Job, TrainConfig, fit, logits_of
    from models.spec import ClipSpec
    from models.teachers import ModularOptions, modular
    from models.teachers.encoder import choices
    from models.teachers.text import TEXT_ENCODERS
    from models.teachers.video import VIDEO_ENCODERS

TASKS = ("label", "thing", "tags", "retrieval")
FLOORS = {
    ("label", "top1"): 0.20,
    ("thing", "top1"): 0.30,
    ("tags", "map"): 0.50,
    ("retrieval", "caption_recall_at_5"): 0.15,
}
"""Minimum figures of every encoder; chance is 0.125, 0.25, the share of clips with a tag, and 5 of all captions."""

_TITLES = ("motion, top-1", "thing, top-1", "tags, mAP", "caption recall@5")
PAGE = Path("docs/teachers.md")


@dataclass(frozen=True, kw_only=True)
class Training:
    """Epochs and learning rate of an encoder; transformers need more and smaller steps than CNNs."""

    epochs: int = 10
    learning_rate: float = 3e-3


_ATTENTION = Training(epochs=24, learning_rate=1.5e-3)
ENCODERS: dict[str, Training] = {
    "factorised_tiny": Training(),
    "resnet_frames_tiny": Training(),
    "resnet_lstm_tiny": Training(),
    "lite0_frames_tiny": Training(),
    "cnn_lstm_tiny": Training(),
    "c3d_tiny": Training(),
    "i3d_tiny": Training(),
    "s3d_tiny": Training(),
    "slowfast_tiny": Training(),
    "r3d_tiny": Training(),
    "r2plus1d_tiny": Training(),
    "timesformer_tiny": _ATTENTION,
    "video_transformer_tiny": _ATTENTION,
}


def main(
    cache: Annotated[Path, typer.Option(help="Cache folder for clips.")] = Path("out/cache"),
    page: Annotated[Path, typer.Option(help="Page for the table.")] = PAGE,
    clips: Annotated[int, typer.Option(min=16, metavar="N", help="Number of training clips.")] = 1_600,
) -> None:
    """Trains every small video encoder on every kind of task, on one core, and writes the table."""
    torch.set_num_threads(1)
    with exit_codes():
        check_page(page, "encoders")
    with exit_codes(), held(cache / "encoder_table"):
        _measure(cache, page, clips=clips)


def _measure(cache: Path, page: Path, *, clips: int) -> None:
    console = output()
    data = _data(cache, clips=clips)
    lines, missed = [], 0
    for name, training in ENCODERS.items():
        figures, parameters, seconds = train(name, training, data, folder=cache / "encoder_table" / name)
        missed += sum(figures[key] < floor for key, floor in FLOORS.items())
        cells = " | ".join(f"{100 * figures[key]:.1f}" for key in FLOORS)
        lines.append(
            f"| `{name}` | {parameters / 1e3:.0f} k | {cells} | {training.epochs} | {seconds:.0f} s |"
        )
        console.print(lines[-1], markup=False, soft_wrap=True)
    floors = " | ".join(f"{100 * floor:.0f}" for floor in FLOORS.values())
    table = [
        f"| encoder | parameters | {' | '.join(_TITLES)} | epochs | time |",
        "|---|---|" + "---|" * (len(_TITLES) + 2),
        *lines,
        f"| floor | | {floors} | | |",
    ]
    text = page.read_text(encoding="utf-8")
    content = "\n".join(table) + "\n"
    write_output_file(page, with_block(text, "encoders", content), option="--page")
    if missed:
        console.print(f"{missed} figures are below their floor")
        raise typer.Exit(GATE_FAILED)


def train(
    name: str, training: Training, data: Data, *, folder: Path
) -> tuple[dict[tuple[str, str], float], int, float]:
    """Figures on the test clips by task and name, number of parameters of the encoder, and seconds on one core."""
    spec = with_tasks(data.spec, ("clip", "text"), TASKS)
    began_s = time.process_time()
    model = _teacher(name, spec)
    with scratch_folder(folder, ("checkpoint.pt",)):
        fit(
            model,
            data.train.for_spec(spec),
            criterion=TaskCriterion(
                spec,
                Truth.of(data.train.for_spec(spec), spec, tag_separator=data.tag_separator),
                weights=dict.fromkeys(task_names(spec), 1.0),
                label_smoothing=0.0,
            ),
            config=TrainConfig(epochs=training.epochs, learning_rate=training.learning_rate),
            validation=data.validation.for_spec(spec),
            job=Job(
                name=name, device=torch.device("cpu"), seed=0, folder=folder, console=Console(quiet=True)
            ),
        )
    seconds = time.process_time() - began_s
    test = data.test.for_spec(spec)
    outputs = logits_of(model, test, batch=32, device=torch.device("cpu"))
    found = measure(outputs, Truth.of(test, spec, tag_separator=data.tag_separator), spec)
    encoder = model.get_submodule("encoders.clip")
    figures = {(task, figure): found[task][figure] for task, figure in FLOORS}
    return figures, sum(parameter.numel() for parameter in encoder.parameters()), seconds


def _teacher(name: str, spec: ClipSpec) -> nn.Module:
    more = {"dropout": 0.0} if hasattr(VIDEO_ENCODERS[name].options, "dropout") else {}
    torch.manual_seed(0)
    return modular(
        spec,
        ModularOptions(
            video=choices(VIDEO_ENCODERS)[name](name=name, **more),
            text=choices(TEXT_ENCODERS)["lstm"](name="lstm", features=32),
            captions="retrieval",
            retrieval_features=32,
            dropout=0.0,
        ),
    )


def _data(cache: Path, *, clips: int) -> Data:
    source = {"source": "synthetic", "difficulty": 0.0, "labels": ["label", "thing"], "tags": ["tags"]}
    return open_data(
        SyntheticData.model_validate(
            {**source, "clips": {"train": clips, "validation": 8, "test": max(8, clips // 8)}}
        ),
        ClipConfig.model_validate({"frames": 8, "size": 32, "text": {"length": 8}}),
        cache=cache,
        workers=1,
        seed=0,
        console=Console(quiet=True),
    )


if __name__ == "__main__":
    run_command(main)
