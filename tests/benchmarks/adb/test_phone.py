"""Exported files on an emulated phone, through the real adb client: figures, and every failure of a phone."""

import re

import numpy as np
import pytest

from benchmarks.accuracy import evaluate
from benchmarks.adb import session as session_module
from benchmarks.adb.kind import AdbSettings
from benchmarks.clips.cache import open_clips
from benchmarks.clips.rows import read_manifest
from benchmarks.device import SessionFailed, Unavailable
from benchmarks.exported import read_export
from benchmarks.measure import Effort, measure
from tests.benchmarks.adb.emulated_phone import runner_program
from tests.benchmarks.small_exports import (
    VIDEO_ONLY,
    example,
    expected_logits,
    file_row,
    onnx_export,
    write_executorch,
    write_manifest,
    write_onnx,
    write_tflite,
    write_videos,
)


@pytest.fixture
def exported(tmp_path):
    return read_export(onnx_export(tmp_path / "export"))


@pytest.fixture
def settings(tmp_path):
    return AdbSettings(onnxruntime_perf_test=runner_program(tmp_path, "onnxruntime_perf_test"))


def _load(settings, exported):
    with settings.connect("pixel") as device, device.open(exported.files[0]) as session:
        return session.load(threads=1)


def test_a_phone_says_what_it_is(phone, settings):
    with settings.connect("pixel") as device:
        description = device.describe()
    assert description.name == "pixel"
    assert description.cpu == "Emulated EM1"
    assert description.system.startswith("Android 15, Pocketreel Emulation (arm64-v8a")
    assert description.cores >= 1 and description.memory_bytes > 2**28 and description.load_1min >= 0


def test_files_are_measured_in_interleaved_invocations(phone, settings, tmp_path):
    folder = tmp_path / "two"
    rows = []
    for scheme in ("fp32", "fp16"):
        inputs = write_onnx(folder / f"onnx/{scheme}/model.onnx", VIDEO_ONLY, matrices=_matrices(scheme))
        row = file_row(
            folder, format="onnx", path=f"onnx/{scheme}/model.onnx", inputs=inputs, spec=VIDEO_ONLY
        )
        rows.append(row | {"scheme": scheme})
    write_manifest(folder, spec=VIDEO_ONLY, files=rows)
    (measured,) = measure(read_export(folder), devices={"adb": settings}, effort=Effort(rounds=2))
    for one in measured.latency:
        assert one.unavailable is None
        assert one.runtime.startswith("onnxruntime_perf_test (sha256 ")
        assert 0 < one.p50_ms <= one.p99_ms and one.rounds == 2 and len(one.round_p50_ms) == 2
        assert one.inferences % 2 == 0 and one.inferences >= 2
        assert one.peak_rss_bytes > 2**20 and one.model_rss_bytes is None
    runs = [
        re.search(r"cd \S+/(\w+) \|\| exit", one)[1]
        for one in phone.commands
        if "onnxruntime_perf_test -m" in one
    ]
    # In each of the two starts both files are warmed up one after the other, and then have a turn each.
    changes = [one for one, before in zip(runs[1:], runs[:-1], strict=True) if one != before]
    assert len(set(runs)) == 2 and len(changes) >= 3
    assert set(runs[-2:]) == set(runs)


def _matrices(scheme):
    from tests.benchmarks.small_exports import weights

    return {key: value * (2 if scheme == "fp16" else 1) for key, value in weights(VIDEO_ONLY).items()}


def test_runner_and_file_are_copied_once_and_stay_for_the_next_measurement(phone, settings, exported):
    _load(settings, exported)
    first = [path for path in phone.received if "test_data_set" not in path]
    assert [path.rpartition(".part")[0].rpartition("/")[2] for path in first] == [
        f"{first[0].rpartition('/')[2][:16]}-onnxruntime_perf_test",
        "model.onnx",
    ]
    phone.received.clear()
    _load(settings, exported)
    assert all("test_data_set_0" in path for path in phone.received)
    left = {path.name for path in phone.tmp.rglob("*") if path.is_file()}
    assert left == {"model.onnx", f"{first[0].rpartition('/')[2][:16]}-onnxruntime_perf_test"}


def test_nothing_stays_on_the_phone_if_that_is_asked(phone, settings, exported):
    _load(settings.model_copy(update={"keep": False}), exported)
    assert list(phone.tmp.iterdir()) == []


def test_files_that_could_not_be_removed_are_told(phone, settings, exported, capsys):
    with settings.model_copy(update={"keep": False}).connect("pixel"):
        phone.vanish()
    assert "files are left in /data/local/tmp/pocketreel of the phone" in capsys.readouterr().err


def test_runs_are_kept_on_the_chosen_cores(phone, settings, exported):
    pinned = settings.model_copy(update={"cpus": "0"})
    _load(pinned, exported)
    assert any("(exec taskset 1 " in one for one in phone.commands)
    with pinned.connect("pixel") as device:
        assert device.describe().cores == 1


def test_cores_that_the_phone_lacks_are_refused(phone, settings):
    absent = settings.model_copy(update={"cpus": "0,500"})
    words = "cpus is '0,500', but the phone has cores 0 to"
    with absent.connect("pixel") as device, pytest.raises(Unavailable, match=words):
        device.describe()


def test_a_format_without_a_runner_names_the_setting(phone, exported):
    with pytest.raises(
        Unavailable, match="no onnxruntime_perf_test is given: give the path of one for Android as"
    ):
        _load(AdbSettings(), exported)


def test_a_runner_that_is_not_there_is_named(phone, tmp_path, exported):
    with pytest.raises(Unavailable, match=r"onnxruntime_perf_test: .*/nowhere cannot be read \(No such file"):
        _load(AdbSettings(onnxruntime_perf_test=tmp_path / "nowhere"), exported)


def test_a_runner_for_another_processor_is_refused_before_it_is_copied(phone, tmp_path, exported):
    runner = tmp_path / "x86"
    runner.write_bytes(b"\x7fELF" + bytes(14) + (62).to_bytes(2, "little"))
    with pytest.raises(Unavailable, match=r"is built for x86_64, but phone .* runs arm64-v8a,armeabi-v7a"):
        _load(AdbSettings(onnxruntime_perf_test=runner), exported)
    assert phone.received == []


def test_a_runner_that_does_not_start_is_not_the_fault_of_the_file(phone, tmp_path, exported):
    runner = tmp_path / "runner"
    runner.write_text("#!/no/interpreter\n")
    with pytest.raises(Unavailable, match=r"cannot be started \(exit code 12[67]\).*built for this phone"):
        _load(AdbSettings(onnxruntime_perf_test=runner), exported)


def test_libraries_are_copied_and_found(phone, settings, tmp_path, exported):
    library = tmp_path / "libonnxruntime.so"
    library.write_bytes(b"library")
    _load(settings.model_copy(update={"libraries": (library,)}), exported)
    assert (phone.tmp / "pocketreel/libonnxruntime.so").read_bytes() == b"library"
    assert any("export LD_LIBRARY_PATH=/data/local/tmp/pocketreel\n" in one for one in phone.commands)


def test_a_file_that_the_runtime_refuses_is_named_with_its_last_words(phone, settings, exported):
    exported.files[0].path.write_bytes(b"no network")
    with pytest.raises(
        SessionFailed, match=r"onnx/fp32/model.onnx: .*exited with code 255; last output: .*[Pp]rotobuf"
    ):
        _load(settings, exported)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("killed", r"was ended by SIGKILL \(often: out of memory\)"),
        ("loses_a_line", r"wrote 0 times to times.csv, not those of the runs 0 to 0"),
        ("not_a_number", r"printed the time '-nan', which is not a positive number"),
    ],
)
def test_a_run_without_figures_fails_and_says_why(phone, settings, exported, trouble, words):
    phone.troubles.runner["TROUBLE"] = trouble
    with pytest.raises(SessionFailed, match=rf"model.onnx: onnxruntime_perf_test on phone .*{words}"):
        _load(settings, exported)


def test_garbage_in_the_output_does_not_change_the_figures(phone, settings, exported):
    phone.troubles.runner["TROUBLE"] = "garbage"
    with settings.connect("pixel") as device, device.open(exported.files[0]) as session:
        session.load(threads=1)
        assert session.time_runs(3).shape == (3,)


def test_a_run_that_does_not_end_is_killed_on_the_phone(phone, settings, exported, monkeypatch):
    phone.troubles.runner["TROUBLE"] = "hangs"
    monkeypatch.setattr(session_module, "_LIMIT_S", 4.0)
    with pytest.raises(SessionFailed, match=r"did not end within 4 s and was killed"):
        _load(settings, exported)
    assert any("kill -9 $(cat" in one for one in phone.commands)
    assert not list(phone.tmp.rglob("pid"))


def test_a_full_disk_costs_the_rows_of_the_file_and_says_why(phone, settings, exported):
    phone.troubles.storage_bytes = 50
    (measured,) = measure(exported, devices={"adb": settings}, effort=Effort(rounds=1))
    (latency,) = measured.latency
    assert re.search("storage is full.*give another `folder`", latency.unavailable)
    assert not latency.failed


def test_a_phone_that_vanishes_in_the_middle_costs_its_rows_and_says_why(phone, settings, exported):
    phone.troubles.vanish_in = "onnxruntime_perf_test -m times -r 1 "
    (measured,) = measure(exported, devices={"adb": settings}, effort=Effort(rounds=1))
    (latency,) = measured.latency
    assert re.search(rf"phone {phone.serial}.*(offline|connection was lost)", latency.unavailable)
    assert not latency.failed


def test_a_phone_that_stays_hot_is_noted_in_its_figures(phone, settings, exported):
    phone.troubles.thermal = (2,)
    hot = settings.model_copy(update={"cooling_s": 0.0})
    with hot.connect("pixel") as device, device.open(exported.files[0]) as session:
        session.load(threads=1)
        session.time_runs(1)
        (note,) = session.notes
    assert note.startswith("1 of 1 runs began at thermal status moderate (2)")


def test_accuracy_that_the_runner_cannot_give_is_not_guessed(phone, settings, exported, tmp_path):
    videos = write_videos(tmp_path / "videos", count=2)
    manifest = tmp_path / "videos/manifest.csv"
    manifest.write_text("path,split,move\n" + "".join(f"{path.name},test,left\n" for path in videos))
    clips = open_clips(read_manifest(manifest, labels=["move"]), VIDEO_ONLY, cache=tmp_path / "cache")
    with settings.connect("pixel") as device:
        (found,) = evaluate(exported, clips, device=device)
    assert found.device == "pixel"
    assert re.search("onnxruntime_perf_test gives no outputs; measure accuracy on `host`", found.unavailable)
    assert not found.failed and found.first is None and found.logits == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "runner", "suffix", "write"),
    [
        ("tflite", "benchmark_model", "tflite", write_tflite),
        ("executorch", "executor_runner", "pte", write_executorch),
    ],
)
def test_logits_of_every_clip_come_from_the_phone(phone, tmp_path, format, runner, suffix, write):
    folder = tmp_path / "export"
    path = f"{format}/fp32/model.{suffix}"
    row = file_row(folder, format=format, path=path, inputs=write(folder / path, VIDEO_ONLY), spec=VIDEO_ONLY)
    write_manifest(folder, spec=VIDEO_ONLY, files=[row])
    (file,) = read_export(folder).files
    settings = AdbSettings.model_validate({runner: runner_program(tmp_path, runner)})
    clips = example(VIDEO_ONLY, clips=2)
    (expected,) = expected_logits(VIDEO_ONLY, clips).values()
    with settings.connect("pixel") as device, device.open(file) as session:
        assert session.load(threads=1).startswith(f"{runner} (sha256 ")
        session.begin_infer(clips)
        (logits,) = session.end_infer()
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
        one = {name: values[:1] for name, values in clips.items()}
        session.hold(one)
        elapsed_ns = session.time_runs(3)
        assert elapsed_ns.shape == (3,) and (elapsed_ns > 0).all()
        if format == "tflite":
            phone.troubles.runner["TROUBLE"] = "no_inputs"
            session.begin_infer(one)
            with pytest.raises(Unavailable, match="takes no inputs and writes no outputs"):
                session.end_infer()
