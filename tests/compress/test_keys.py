"""Keys of stages: what changes them, and what does not."""

from __future__ import annotations

import ast
import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from benchmarks.devices import DEVICES
from compress.data import open_data
from compress.folders import source
from compress.folders.keys import difference
from compress.folders.source import AROUND, TABLES, source_hashes
from compress.recipe import load_recipe
from compress.sources.synthetic import SyntheticData, write_synthetic
from compress.stages import STAGES
from compress.steps.pipeline import Run
from compress.steps.train import stage_keys, teacher_key
from models import STUDENTS, TEACHERS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "tests" / "recipes" / "tiny.yaml"


@pytest.fixture(scope="module")
def run(tiny_data, tmp_path_factory):
    return of(load_recipe(RECIPE), tiny_data, cache=tmp_path_factory.mktemp("cache"))


def of(recipe, data, *, cache):
    return Run(
        recipe=recipe,
        data=data,
        folder=cache / "out",
        cache=cache,
        device=torch.device("cpu"),
        console=Console(quiet=True),
    )


def keys_of(run):
    """The keys of teacher, distill, prune and quantize."""
    teacher = teacher_key(run)
    return [teacher, *stage_keys(run, teacher=teacher)]


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """Has keys computed over a copy of the source in which one thing is replaced."""

    def edit(file, old, new):
        root = tmp_path / "source"
        for package in source.PACKAGES:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source.ROOT / package, root / package, ignore=ignored)
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new, 1) if old else text + new)
        monkeypatch.setattr(source, "ROOT", root)

    return edit


ADDED = ("", "NEW = 1\n")
"""At the end of a module."""


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("compress/report/assemble.py", *ADDED),
        ("compress/report/report.md.j2", "\n", "\nA comma, \n"),
        ("compress/recipe/plan.py", *ADDED),
        ("compress/steps/pipeline.py", *ADDED),
        ("compress/store.py", *ADDED),
        ("compress/command/guard.py", *ADDED),
        ("compress/folders/ledger.py", *ADDED),
        ("benchmarks/latency.py", *ADDED),
        ("benchmarks/clips/container.py", *ADDED),  # what it decodes is in the data's hash
        ("models/__init__.py", *ADDED),
        ("compress/stages.py", *ADDED),
        ("compress/distillation/__init__.py", *ADDED),
        ("compress/pruning/__init__.py", *ADDED),
        ("compress/quantization/__init__.py", *ADDED),
        ("compress/recipe/renamed.py", *ADDED),
        ("compress/distillation/dkd.py", *ADDED),  # the recipe has kd alone
        ("compress/quantization/qat.py", *ADDED),  # the recipe calibrates
        ("export/quantize/ranges/__init__.py", *ADDED),
        ("export/quantize/ranges/percentile.py", *ADDED),  # the recipe takes the least error
        ("models/x3d.py", *ADDED),
        ("models/checkpoints/mobilenet.py", *ADDED),  # the recipe has no public weights
        ("compress/losses.py", "\ndef ", "\n# A remark.\ndef "),
        ("compress/losses.py", '"""', '"""Indeed: '),
    ],
)
def test_what_does_not_make_a_network_keeps_all_stages(run, edited, file, old, new):
    before = keys_of(run)
    edited(file, old, new)
    assert keys_of(run) == before


@pytest.mark.parametrize(
    ("file", "old", "new", "kept"),
    [
        ("compress/losses.py", *ADDED, 0),
        ("compress/training/optimizer.py", "0.5 * (1", "0.4 * (1", 0),
        ("compress/distill.py", *ADDED, 1),
        ("compress/teacher.py", *ADDED, 1),
        ("compress/distillation/kd.py", *ADDED, 1),
        ("compress/pruning/magnitude.py", *ADDED, 2),
        ("compress/quantization/ptq.py", *ADDED, 3),
        ("export/quantize/ranges/least_error.py", *ADDED, 3),
        ("models/mobilenet3d.py", *ADDED, 0),  # an encoder of teachers, too
        ("compress/pruning/search.py", "_OTHERS = 40", "_OTHERS = 30", 2),
        ("compress/pruning/counts.py", *ADDED, 2),
        ("export/quantize/quantizer.py", *ADDED, 3),
        ("export/lower/convolution.py", *ADDED, 3),
    ],
)
def test_what_makes_a_network_changes_its_key_and_those_after_it(run, edited, file, old, new, kept):
    before = keys_of(run)
    edited(file, old, new)
    after = keys_of(run)
    assert [a == b for a, b in zip(before, after, strict=True)] == [number < kept for number in range(4)]
    assert file in difference(before[kept].parts, after[kept].parts)


@pytest.mark.parametrize("file", ["compress/pretrained.py", "models/checkpoints/mobilenet.py"])
def test_how_public_weights_are_loaded_changes_the_stages_of_their_student(run, edited, tmp_path, file):
    weights = tmp_path / "mobilenet_v2.pth"
    weights.write_bytes(b"any content: keys read no tensors")
    changes = [f"student={{network: tsm, pretrained: {weights}}}"]
    own = of(load_recipe(RECIPE, overrides=changes), run.data, cache=run.cache)
    before = keys_of(own)
    edited(file, *ADDED)
    after = keys_of(own)
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, False, False]
    assert file in difference(before[1].parts, after[1].parts)


def test_a_difference_names_four_modules_at_most():
    earlier = {f"source.compress/{name}.py": "sha256:1" for name in "abcdef"}
    now = dict.fromkeys(earlier, "sha256:2")
    said = "compress/a.py, compress/b.py, compress/c.py, compress/d.py and 2 more changed"
    assert difference(earlier, now) == said
    now = {**earlier, "source.compress/g.py": "sha256:3"}
    assert difference(earlier, now) == "compress/g.py (new) changed"


def test_a_float_stage_depends_on_little(run):
    """45 modules at most, none of which shows, guards, plans, exports or decodes."""
    parts = keys_of(run)[1].parts
    files = {name.removeprefix("source.") for name in parts if name.startswith("source.")}
    assert {"compress/distill.py", "compress/losses.py", "models/mobilenet3d.py"} <= files
    assert len(files) <= 45
    foreign = ("export/", "compress/report/", "compress/steps/", "compress/recipe/", "models/teachers/")
    around = tuple(f"{name.replace('.', '/')}" for name in AROUND)
    assert not [name for name in files if name.startswith((*foreign, *around))]
    assert "benchmarks/clips/container.py" not in files and "models/__init__.py" not in files


def test_tables_of_methods_are_tables_and_nothing_else():
    for name in TABLES:
        tree = ast.parse((ROOT / name.replace(".", "/") / "__init__.py").read_text())
        first, *rest = tree.body
        assert isinstance(first, ast.Expr)
        kinds = [type(node) for node in rest]
        imports = kinds.index(ast.AnnAssign)
        assert set(kinds[:imports]) == {ast.ImportFrom} and set(kinds[imports:]) == {ast.AnnAssign}, name


def test_how_a_student_is_taught_changes_the_stages_that_train_alone(run):
    before = keys_of(run)
    recipe = load_recipe(RECIPE, overrides=["distillation.losses={kd: {temperature: 3}}"])
    after = keys_of(of(recipe, run.data, cache=run.cache))
    assert before[0] == after[0], "the teacher"
    assert not {*before[1:]} & {*after[1:]}, "the stages after it, too"
    assert "distillation.losses.kd.temperature" in difference(before[1].parts, after[1].parts)
    parts = [{name.partition(".")[0] for name in key.parts} for key in after]
    assert ["distillation" in one for one in parts] == [False, True, True, False], (
        "calibration does not train"
    )


def test_every_row_of_the_tables_has_modules_of_ours():
    for network in (*STUDENTS.values(), *TEACHERS.values()):
        files = source_hashes(network.build.__module__, network.options.__module__)
        assert "models/__init__.py" not in files and "models/spec.py" in files
    for stage in STAGES.values():
        assert "compress/stages.py" not in source_hashes(stage.run.__module__)
    assert "benchmarks/devices.py" not in source_hashes("benchmarks.measure")
    for device in DEVICES.values():
        module = device.model_construct().module
        assert "benchmarks/device.py" in source_hashes(
            module
        ) and "benchmarks/devices.py" not in source_hashes(module)


def test_weights_count_by_content_and_not_by_place(run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "keys_teacher.py").write_text("def build(spec): return None\n")
    found = []
    for folder, value in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        (tmp_path / folder).mkdir()
        save_file({"w": torch.full((2,), value)}, tmp_path / folder / "w.safetensors")
        teacher = {"factory": "keys_teacher:build", "weights": str(tmp_path / folder / "w.safetensors")}
        recipe = load_recipe(RECIPE, overrides=[f"teacher={json.dumps(teacher)}"])
        one = of(recipe, run.data, cache=tmp_path)
        found.append((teacher_key(one), one.origin))
    assert found[0] == found[1]
    assert found[0][0] != found[2][0] and found[0][1] != found[2][1]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A manifest of encoded videos."""
    folder = tmp_path_factory.mktemp("clips") / "one"
    folder.mkdir()
    sizes = {"train": 16, "validation": 8, "test": 8}
    config = SyntheticData.model_validate({"source": "synthetic", "clips": sizes, "difficulty": 0.2})
    write_synthetic(config, folder, workers=0, report=lambda done, total: None)
    return folder


def opened(folder, *, cache):
    data = {"source": "manifest", "manifest": str(folder / "manifest.csv"), "labels": ["label"]}
    recipe = load_recipe(RECIPE, overrides=[f"data={json.dumps(data)}"])
    console = Console(quiet=True)
    found = open_data(recipe.data, recipe.clip, cache=cache, workers=0, seed=0, console=console)
    return of(recipe, found, cache=cache)


def test_moved_data_keep_all_keys_and_are_not_decoded_again(clips, tmp_path, monkeypatch):
    first = opened(clips, cache=tmp_path / "cache")
    moved = tmp_path / "deeper" / "moved"
    shutil.copytree(clips, moved, copy_function=shutil.copy)  # with other times
    with (moved / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        (moved / row["path"]).rename(moved / row["split"] / f"renamed_{Path(row['path']).name}")
        row["path"] = str(moved / row["split"] / f"renamed_{Path(row['path']).name}")  # absolute
    with (moved / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    elsewhere = opened(moved, cache=tmp_path / "other")
    assert keys_of(first) == keys_of(elsewhere) and first.origin == elsewhere.origin
    monkeypatch.setattr("benchmarks.clips.store.run_jobs", None)  # nothing is decoded again
    assert keys_of(opened(moved, cache=tmp_path / "cache")) == keys_of(first)


def test_a_changed_clip_changes_all_keys(clips, tmp_path):
    first = opened(clips, cache=tmp_path / "cache")
    changed = shutil.copytree(clips, tmp_path / "changed")
    shutil.copy(changed / "train" / "00001.mp4", changed / "train" / "00000.mp4")
    other = opened(changed, cache=tmp_path / "cache")
    assert not {*keys_of(first)} & {*keys_of(other)}
    assert first.origin != other.origin


def test_the_origin_of_files_tells_recipes_apart_and_not_machines(run):
    recipe = load_recipe(RECIPE, overrides=["stages.0.distill.epochs=3"])
    assert replace(run, recipe=recipe).origin != run.origin
    assert replace(run, device=torch.device("cuda"), cache=Path("elsewhere")).origin == run.origin
    assert not [name for name in run.origin.parts if name.startswith(("source", "versions"))]


def exported(folder):
    """The bytes of the files, by their path; lists and logs, which tell seconds and memory, left aside."""
    kinds = (".onnx", ".tflite", ".npy", ".mp4", ".safetensors")
    paths = [
        path for path in sorted(folder.rglob("*")) if path.suffix in kinds and "predictions" not in path.parts
    ]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_the_same_run_elsewhere_gives_the_same_bytes(clips, tmp_path):
    found = []
    for place in ("here", "deeper/there"):
        data = shutil.copytree(clips, tmp_path / place / "data", copy_function=shutil.copy)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "compress.run", RECIPE),
                *("--out", tmp_path / place / "out", "--cache", tmp_path / place / "cache"),
                *("--set", f"data={{source: manifest, manifest: {data}/manifest.csv, labels: [label]}}"),
                *("--set", "teacher.train.epochs=1", "--set", "export.formats=[onnx, tflite]"),
                *("--set", "stages=[{distill: {epochs: 1, batch: 8}}, {quantize: {calibration_clips: 8}}]"),
            ],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found.append(exported(tmp_path / place / "out"))
    assert {"export/onnx/fp32/model.onnx", "export/tflite/fp32/model.tflite"} <= {*found[0]}
    assert [name for name in found[0] if found[0][name] != found[1].get(name)] == []
