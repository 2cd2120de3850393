"""The main job as a user starts it, on a recipe that takes seconds."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
import torch

from compress.recipe import load_recipe
from models.spec import ClipSpec
from tests.commands import run_command_line, start_command_line

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "tests" / "recipes" / "tiny.yaml"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "compress.run", *map(str, arguments)]


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A run, forked off a process that has imported what it needs."""
    return run_command_line(["compress.run", *arguments], env={**ENVIRONMENT, **environment})


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    """Output folder of one whole run, which Python starts as a user does."""
    folder = tmp_path_factory.mktemp("run") / "tiny"
    done = subprocess.run(
        _command(RECIPE, "--out", folder, "--cache", cache),
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    """The same run once more, to be changed."""
    return shutil.copytree(finished, tmp_path / "copy")


def report_of(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def test_the_output_folder_has_what_other_tools_rely_on(finished):
    for path in (
        "recipe.yaml",
        "report.json",
        "report.md",
        "report.html",
        "stages/00_teacher",
        "stages/01_distill",
        "stages/02_prune",
        "stages/03_quantize",
        "export/manifest.json",
        "export/onnx/w8a8/model.onnx",
        "export/tflite/w8a8/model.tflite",
        "export/executorch/w8a8/model.pte",
        "export/coreml/w8a8/model.mlpackage",
    ):
        assert (finished / path).exists(), path
    assert not list(finished.rglob("*.partial"))


def test_the_report_keeps_its_schema_and_measures_every_file_that_can_run_here(finished):
    report = report_of(finished)
    jsonschema.validate(report, json.loads((ROOT / "docs" / "report.schema.json").read_text()))
    formats = ("onnx", "tflite", "executorch", "coreml")
    ids = [(file["format"], file["scheme"]) for file in report["files"]]
    assert ids == [(name, scheme) for name in formats for scheme in ("fp32", "w8a8")]
    for file in report["files"]:
        assert file["size_bytes"] > 0 and file["path"].startswith(
            f"export/{file['format']}/{file['scheme']}/"
        )
        measured = file["format"] != "coreml" or sys.platform == "darwin"
        assert (file["accuracy"]["top1"] is not None) == measured
        (latency,) = file["latency"]
        if measured:
            assert file["accuracy"]["clips"] == 16
            assert 0 < latency["p50_ms"] <= latency["p99_ms"]
            assert file["parity"]["top1_agreement"] >= 0.9
            assert ("ratio_to_fp32" in latency) == (file["scheme"] == "w8a8")
            assert latency.get("ratio_to_fp32", 1) > 0
        else:
            assert "Apple" in file["accuracy"]["reason"]
    assert [stage["name"] for stage in report["stages"]] == ["teacher", "distill", "prune", "quantize"]
    assert report["models"]["student_labels_only"]["top1"] is not None
    assert report["stages"][2]["after"]["macs"] <= 0.7 * report["stages"][2]["before"]["macs"]


def test_the_report_compares_the_predictions_of_networks_and_files_clip_by_clip(finished):
    report = report_of(finished)
    found = report["predictions"]["label"]
    measured = [
        f"{one['format']}.{one['scheme']}" for one in report["files"] if one["accuracy"]["top1"] is not None
    ]
    assert found["agreement"]["names"] == ["teacher", "student_float", "student_quantized", *measured]
    assert sum(found["clips_per_class"]) == 16 and found["examined"] == "onnx.w8a8"
    for name in ("teacher", "student_float"):
        pairs = zip(found["recall"][name], found["clips_per_class"], strict=True)
        correct = sum(share * clips for share, clips in pairs if share is not None)
        assert correct / 16 == pytest.approx(report["models"][name]["top1"])
    for one in report["files"]:
        assert one["coverage"] is not None or one["format"] == "coreml"
        if one["accuracy"]["top1"] is not None:
            paired = one["accuracy"]["paired"]["label"]
            drop = one["accuracy"]["top1"] - report["models"]["student_float"]["top1"]
            assert paired["change_pp"] == pytest.approx(100 * drop)
            assert len(one["latency"][0]["round_p50_ms"]) == one["latency"][0]["rounds"]
    assert "compress.run" in report["reproduce"] and f"--out {finished}" in report["reproduce"]
    shown = len(found["flips"][:8]) + len(found["mistakes"][:4])
    assert shown and "data:image/jpeg;base64," in (finished / "report.html").read_text()


def test_the_export_manifest_says_how_to_feed_every_file(finished):
    manifest = json.loads((finished / "export" / "manifest.json").read_text())
    assert manifest["clip"]["frames"] == 4 and manifest["clip"]["sampling"] == "uniform"
    assert len(manifest["files"]) == 8
    layouts = {file["format"]: file["inputs"][0]["layout"] for file in manifest["files"]}
    assert layouts == {"onnx": "NCTHW", "tflite": "NTHWC", "executorch": "NCTHW", "coreml": "NCTHW"}
    assert all(file["inputs"][0]["mean"] == [0.5, 0.5, 0.5] for file in manifest["files"])
    assert ClipSpec.from_dict(manifest["spec"]).labels[0].classes == tuple(manifest["labels"][0]["classes"])


def test_int8_files_are_compared_with_the_float_network_too(finished):
    manifest = json.loads((finished / "export" / "manifest.json").read_text())
    int8 = [row for row in manifest["files"] if row["scheme"] == "w8a8"]
    assert len(int8) == 4
    for row in int8:
        assert set(row["parity"]) >= {"float", "reference"}
        of_float, of_reference = (row["parity"][name][0]["sqnr_db"] for name in ("float", "reference"))
        assert of_float > 5
        # Core ML computes in float16, whose noise is as large as that of int8 in this small network.
        assert of_float < of_reference or (row["format"] == "coreml" and of_reference > 30), row["format"]


def test_every_int8_file_does_its_work_in_its_runtimes_fast_kernels(finished):
    manifest = json.loads((finished / "export" / "manifest.json").read_text())
    int8 = [file for file in manifest["files"] if file["scheme"] == "w8a8"]
    coverage = {file["format"]: file["coverage"] for file in int8}
    for name, partitions in {"onnx": None, "tflite": 1, "executorch": 1}.items():
        assert (coverage[name]["share"], coverage[name]["partitions"]) == (1.0, partitions), name
        assert coverage[name]["macs"] > 1e5
        # The normalisation of the clip is the only thing that ONNX Runtime computes in float.
        assert not [one for one in coverage[name]["left"] if one["macs"]], name
    assert not coverage["tflite"]["left"] and not coverage["executorch"]["left"]


def test_a_second_run_does_nothing_again(finished, cache):
    before = report_of(finished)
    again = run(RECIPE, "--out", finished, "--cache", cache)
    assert again.returncode == 0, again.stderr
    after = report_of(finished)
    assert all(stage["cached"] for stage in after["stages"])
    assert after["files"] == before["files"]
    assert after["models"] == before["models"]


def test_a_changed_setting_repeats_that_stage_and_those_after_it(copy, cache):
    changed = run(
        RECIPE, "--out", copy, "--cache", cache,
        "--set", "stages.2.quantize.calibration_clips=8", "--set", "export.formats=[onnx]",
    )  # fmt: skip
    assert changed.returncode == 0, changed.stderr
    assert [stage["cached"] for stage in report_of(copy)["stages"]] == [True, True, True, False]


def test_a_failed_gate_gives_exit_code_1_and_says_which(copy, cache):
    gate = "gates=[{metric: files.onnx.w8a8.top1, min: 1.0}, {metric: models.teacher.macs, min: 1}]"
    failed = run(RECIPE, "--out", copy, "--cache", cache, "--set", gate)
    assert failed.returncode == 1
    assert "failed: files.onnx.w8a8.top1" in failed.stdout
    assert "gates: 1 of 2 passed" in failed.stdout


def test_an_unmeasured_gate_fails_unless_the_recipe_allows_it(copy, cache):
    gate = "gates=[{metric: files.coreml.w8a8.top1, min: 0.1}]"
    assert run(RECIPE, "--out", copy, "--cache", cache, "--set", gate).returncode == 1


def test_a_wrong_recipe_gives_exit_code_2_and_every_fault(tmp_path):
    wrong = run(RECIPE, "--out", tmp_path / "out", "--set", "clip.size=big", "--set", "clip.frames=none")
    assert wrong.returncode == 2
    assert "clip.size" in wrong.stderr and "clip.frames" in wrong.stderr
    unknown = run(RECIPE, "--out", tmp_path / "out", "--set", "student.netwrok=x", "--set", "clip.sise=8")
    assert unknown.returncode == 2
    assert "student.netwrok" in unknown.stderr and "did you mean 'network'" in unknown.stderr
    assert "clip.sise" in unknown.stderr and "did you mean 'size'" in unknown.stderr
    assert not (tmp_path / "out").exists()


def test_a_failing_stage_gives_exit_code_3_and_names_it(tmp_path, cache):
    failing = run(
        RECIPE, "--out", tmp_path, "--cache", cache, "--set", "stages.1.prune.macs=0.01",
        "--set", "stages.0.distill={epochs: 1, batch: 8, baseline: false}",
    )  # fmt: skip
    assert failing.returncode == 3
    assert "stages.1.prune" in failing.stderr and "of the MACs is the minimum that" in failing.stderr


def test_a_missing_backend_costs_its_own_format_only(copy, cache, tmp_path):
    hidden = tmp_path / "hidden" / "coremltools"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('not installed')")
    without = run(
        RECIPE, "--out", copy, "--cache", cache, "--set", "export.formats=[coreml, onnx]",
        "--set", "export.schemes=[w8a8]",
        PYTHONPATH=str(hidden.parent),
    )  # fmt: skip
    assert without.returncode == 3
    assert "export.coreml.w8a8 failed" in without.stdout and "pip install '.[coreml]'" in without.stdout
    coreml, onnx = report_of(copy)["files"]
    assert coreml["status"] == "failed" and coreml["path"] is None and "Pocketreel" in coreml["reason"]
    assert onnx["accuracy"]["top1"] is not None


def test_plan_computes_nothing(tmp_path):
    planned = run(RECIPE, "--plan", "--out", tmp_path / "out", "--cache", tmp_path / "cache")
    assert planned.returncode == 0
    assert "distill" in planned.stdout and "executorch in fp32, executorch in w8a8" in " ".join(
        planned.stdout.split()
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [(), ("--fresh",), ("--plan",)])
def test_a_folder_of_other_files_is_refused_and_stays(tmp_path, options):
    (tmp_path / "precious.txt").write_text("mine")
    refused = run(RECIPE, "--out", tmp_path, "--cache", tmp_path / "cache", *options)
    assert refused.returncode == 2 and "contains files that are not results of a run" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_fresh_removes_nothing_before_recipe_and_data_are_right(copy, cache):
    for wrong in (
        "student.network=none",
        "data={source: folder, root: nowhere}",
        "stages.0.distill.epochs=0",
    ):
        assert run(RECIPE, "--out", copy, "--cache", cache, "--fresh", "--set", wrong).returncode == 2
    assert (copy / "report.json").exists() and (
        copy / "stages" / "01_distill" / "weights.safetensors"
    ).exists()


def test_every_flipped_byte_is_noticed_and_what_it_damaged_is_made_again(copy, finished, cache, tmp_path):
    own = shutil.copytree(cache, tmp_path / "cache")
    only_onnx = ("--set", "export={formats: [onnx], schemes: [w8a8]}", "--out", copy, "--cache", own)
    assert run(RECIPE, *only_onnx).returncode == 0
    stored = (
        "stages/00_teacher/weights.safetensors",
        "stages/01_distill/test_logits.safetensors",
        "stages/03_quantize/program.pt2",
        "export/onnx/w8a8/model.onnx",
        "benchmark.json",
    )
    damaged = [copy / name for name in stored]
    # The cache is shared: a run reads some of these only.
    shared = [list(own.glob(g)) for g in ("teacher/*/outputs.bin", "decoded/frames-*/values.npy")]
    for path in [*damaged, *shared[0], *shared[1]]:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    again = run(RECIPE, *only_onnx)
    assert again.returncode == 0, again.stderr
    said = " ".join((again.stdout + again.stderr).split())
    noticed = set(re.findall(r"again, because (\S+) is damaged", said))
    assert {str(path) for path in damaged} <= noticed, said
    assert all(noticed & {str(path) for path in paths} for paths in shared), said
    hashes = [
        [stage["weights_sha256"] for stage in report_of(folder)["stages"]] for folder in (copy, finished)
    ]
    assert hashes[0] == hashes[1]
    assert "again, because" not in run(RECIPE, *only_onnx).stdout


def test_the_resolved_recipe_is_the_same_recipe(finished):
    resolved = load_recipe(finished / "recipe.yaml", overrides=["name=tiny"])
    assert resolved == load_recipe(RECIPE)


@pytest.mark.parametrize("option", ["--devcie", "--train-device=tpu", "--device=cpu"])
def test_a_wrong_argument_gives_exit_code_2(option):
    assert run(RECIPE, option).returncode == 2


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has an Apple GPU")
def test_an_absent_training_device_is_refused():
    done = run(RECIPE, "--train-device=mps")
    assert done.returncode == 2
    assert "--train-device is mps, but torch finds no Apple GPU here; use cpu or auto" in done.stderr


def test_a_teacher_of_the_users_own_is_loaded_not_trained(tmp_path, finished, cache):
    """The `train()` and `eval()` of this one return nothing."""
    (tmp_path / "their_networks.py").write_text(
        "from models import TEACHERS\n\n\n"
        "def build(spec):\n"
        "    row = TEACHERS['multimodal_tiny']\n"
        "    network = row.build(spec, row.options())\n\n"
        "    class Quiet(type(network)):\n"
        "        def train(self, mode=True):\n"
        "            super().train(mode)\n\n"
        "    network.__class__ = Quiet\n"
        "    return network\n"
    )
    weights = finished / "stages" / "00_teacher" / "weights.safetensors"
    done = run(
        RECIPE, "--out", tmp_path / "out", "--cache", cache,
        "--set", f"teacher={{factory: 'their_networks:build', weights: {weights}}}",
        "--set", "stages=[{distill: {epochs: 1, batch: 8}}]",
        "--set", "export.formats=[onnx]",
        PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours, theirs = report_of(finished), report_of(tmp_path / "out")
    assert theirs["models"]["teacher"]["top1"] == ours["models"]["teacher"]["top1"]
    assert theirs["stages"][0]["weights_sha256"] == ours["stages"][0]["weights_sha256"]
    assert theirs["files"][0]["scheme"] == "fp32"
    assert theirs["files"][0]["parity"]["max_abs_error"] < 1e-4


def test_several_label_columns_give_a_head_and_a_figure_each(tmp_path, finished, cache):
    """The column `true_label` of the generated clips stands for a second task here.

    The teacher does not learn it, but tags and retrieval.
    """
    (manifest,) = cache.glob("synthetic-*/manifest.csv")
    done = run(
        RECIPE, "--out", tmp_path, "--cache", cache,
        "--set", f"data={{source: manifest, manifest: {manifest}, labels: [label, true_label], tags: [tags]}}",
        "--set", "teacher={network: modular, weighting: uncertainty, train: {epochs: 1, batch: 8}}",
        "--set", "teacher.tasks={retrieval: 0.5, label: 1.0, tags: 2.0}",
        "--set", "teacher.options={video: {name: r2plus1d_tiny}, audio: {name: gru, features: 8}}",
        "--set", "stages=[{distill: {epochs: 1, batch: 8}}, {quantize: {calibration_clips: 8, batch: 8}}]",
        "--set", "export.formats=[onnx, tflite]",
        "--set", "gates=[{metric: files.onnx.w8a8.top1.true_label, min: 0}]",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path)
    jsonschema.validate(report, json.loads((ROOT / "docs" / "report.schema.json").read_text()))
    assert set(report["models"]["student_float"]["top1"]) == {"label", "true_label"}
    assert set(report["models"]["student_float"]["tasks"]) == {"label", "true_label"}
    assert set(report["models"]["teacher"]["top1"]) == {"label"}, "what it learns of the data's two columns"
    assert set(report["models"]["teacher"]["tasks"]) == {"label", "tags", "retrieval"}
    assert set(report["stages"][0]["after"]["task_weights"]) == {"label", "tags", "retrieval"}
    page = (tmp_path / "report.md").read_text()
    assert "| Teacher | tags | mAP " in page and "| Teacher | retrieval | caption recall@1 " in page
    for artifact in report["files"]:
        assert set(artifact["accuracy"]["top1"]) == {"label", "true_label"}
        assert min(artifact["parity"]["top1_agreement"].values()) >= 0.9


MOMENTS = ("stages/01_distill.partial/distill/checkpoint.pt", "stages/03_quantize.partial")
"""Files whose appearance is the moment at which the run is killed.

One lies inside a stage that trains, one after all that do. That `fit()` goes on from any epoch is what
`tests/compress/training/test_loop.py` is about; that a folder is whole or absent, whenever its writer is killed,
`tests/compress/test_store.py` and `tests/compress/test_run_folder.py`.
"""


def test_killed_at_any_moment_a_run_resumes_and_ends_with_the_same_weights(finished, cache, tmp_path):
    only_onnx = ("--set", "export={formats: [onnx], schemes: [w8a8]}")
    for moment in MOMENTS:
        process = start_command_line(
            ["compress.run", RECIPE, "--out", tmp_path, "--cache", cache, *only_onnx], env=ENVIRONMENT
        )
        while not (tmp_path / moment).exists() and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / moment).exists(), moment
    resumed = run(RECIPE, "--out", tmp_path, "--cache", cache, *only_onnx)
    assert resumed.returncode == 0, resumed.stderr
    uninterrupted = [stage["weights_sha256"] for stage in report_of(finished)["stages"]]
    assert [stage["weights_sha256"] for stage in report_of(tmp_path)["stages"]] == uninterrupted
