"""Command lines of the runners, and figures from what their sources print."""

import numpy as np
import pytest

from benchmarks.adb.invocation import Job, NoFigures
from benchmarks.adb.runners import RUNNERS
from benchmarks.device import Memory, Unavailable
from benchmarks.files import ExportedFile, FileTensor

CLIP = FileTensor(name="clip", shape=(1, 4, 6, 6, 3), dtype="float32", layout="NTHWC")
TEXT = FileTensor(name="text", shape=(1, 3), dtype="int64", layout="NL")
LOGITS = FileTensor(name="move", shape=(1, 3), dtype="float32", layout="NK")


def _file(tmp_path, *, format="tflite", inputs=(CLIP,), outputs=(LOGITS,), **others):
    path = tmp_path / format / "fp32" / "model.x"
    return ExportedFile(
        format=format, scheme="fp32", path=path, size_bytes=1, inputs=inputs, outputs=outputs, **others
    )


def _job(file, *, count=5, warm_up=2):
    return Job(program="/p/runner", file=file, threads=4, count=count, warm_up=warm_up)


class TestBenchmarkModel:
    """LiteRT's runner."""

    runner = RUNNERS["tflite"]
    printed = (
        "INFO: STARTING!\n"
        "INFO: count=2 first=9000 curr=7000 min=7000 max=9000 avg=8000 std=1000 p5=7000 median=9000 p95=9000\n\n"
        "INFO: count=5 first=5100 curr=4900 min=4900 max=5200 avg=5040 std=101 p5=4900 median=5050 p95=5200\n\n"
        "INFO: Inference timings in us: Init: 3000, First inference: 9000, Warmup (avg): 8000, "
        "Inference (avg): 5040\n"
        "INFO: Memory footprint delta from the start of the tool (MB): init=1.5 overall=3.25\n"
    )

    def test_its_command_line_fixes_the_numbers_of_runs_and_names_every_input(self, tmp_path):
        command = self.runner.command(_job(_file(tmp_path, inputs=(CLIP, TEXT))))
        assert command[0] == "/p/runner"
        assert {
            "--graph=model.tflite",
            "--num_threads=4",
            "--num_runs=5",
            "--warmup_runs=2",
            "--min_secs=0",
            "--warmup_min_secs=0",
            "--input_layer=clip,text",
            "--input_layer_shape=1,4,6,6,3:1,3",
            "--input_layer_value_files=clip:inputs/0-0.bin,text:inputs/0-1.bin",
        } <= set(command)

    def test_a_file_with_several_programs_is_given_the_name_of_one(self, tmp_path):
        file = _file(tmp_path)
        whole = _file(tmp_path, step=_file(tmp_path, entry="step"))
        assert not any("signature" in one for one in self.runner.command(_job(file)))
        assert "--signature_to_run_for=serving_default" in self.runner.command(_job(whole))
        assert "--signature_to_run_for=step" in self.runner.command(_job(whole.step))

    def test_the_median_of_the_runs_is_the_only_time_and_a_note_says_so(self, tmp_path):
        timing = self.runner.timing(self.printed, job=_job(_file(tmp_path)))
        assert timing.elapsed_ns.tolist() == [5050e3] * 5
        assert timing.memory == Memory(peak_rss_bytes=None, model_rss_bytes=round(3.25 * 2**20))
        (note,) = timing.notes
        assert note.startswith(
            "benchmark_model prints no single times: every value is the median of its invocation"
        )

    def test_the_average_of_old_releases_is_called_one(self, tmp_path):
        old = self.printed.replace(" median=", " centre=")
        timing = self.runner.timing(old, job=_job(_file(tmp_path)))
        assert timing.elapsed_ns.tolist() == [5040e3] * 5
        assert "every value is the average of its invocation" in timing.notes[0]

    def test_the_memory_of_the_tool_of_litert_is_read_too(self, tmp_path):
        new = self.printed.partition("INFO: Inference timings")[0] + (
            "INFO: [benchmark_litert_model.h:120] Overall footprint:    32.50 MB\n"
        )
        timing = self.runner.timing(new, job=_job(_file(tmp_path)))
        assert timing.memory.model_rss_bytes == round(32.5 * 2**20)

    @pytest.mark.parametrize(
        ("printed", "words"),
        [
            ("INFO: STARTING!\n", "printed no statistics"),
            (printed.replace("count=5", "count=3"), "reported 3 inferences instead of 5"),
            (printed.replace("median=5050", "median=-nan"), "'-nan', which is not a positive number"),
            (printed.replace("median=5050", "median=0"), "'0', which is not a positive number"),
        ],
    )
    def test_an_incomplete_output_has_no_figures(self, tmp_path, printed, words):
        with pytest.raises(NoFigures, match=words):
            self.runner.timing(printed, job=_job(_file(tmp_path)))

    def test_logits_need_a_single_output_and_inputs_of_different_sizes(self, tmp_path):
        assert "--output_filepath=outputs/0-0.bin" in self.runner.infer_command(_job(_file(tmp_path)))
        with pytest.raises(
            Unavailable, match="writes its 2 outputs without names; measure accuracy on `host`"
        ):
            self.runner.infer_command(_job(_file(tmp_path, outputs=(LOGITS, LOGITS))))
        with pytest.raises(Unavailable, match="two of them have the same size"):
            self.runner.infer_command(_job(_file(tmp_path, inputs=(CLIP, CLIP))))

    def test_the_tool_of_litert_that_takes_no_inputs_is_noticed(self, tmp_path):
        warned = "WARN: Unconsumed cmdline flags: --input_layer=clip\n" + self.printed
        assert "random values of its own" in self.runner.timing(warned, job=_job(_file(tmp_path))).notes[1]
        self.runner.check_outputs(self.printed)
        with pytest.raises(
            Unavailable, match=r"takes no inputs and writes no outputs.*tflite/tools/benchmark"
        ):
            self.runner.check_outputs(warned)


class TestExecutorRunner:
    """ExecuTorch's runner."""

    runner = RUNNERS["executorch"]
    old = "Model executed successfully 4 time(s) in 40.000000 ms.\n"
    printed = "".join(f"Iteration {n} of 4: {n}.500000 ms\n" for n in range(1, 5)) + old

    def _job(self, tmp_path):
        return _job(_file(tmp_path, format="executorch", inputs=(CLIP, TEXT)), count=3, warm_up=1)

    def test_its_command_line_adds_the_warm_up_to_the_runs(self, tmp_path):
        command = self.runner.command(self._job(tmp_path))
        assert command == [
            "/p/runner",
            "--model_path=model.pte",
            "--method_name=forward",
            "--num_executions=4",
            "--cpu_threads=4",
            "--inputs=inputs/0-0.bin,inputs/0-1.bin",
        ]
        assert self.runner.infer_command(self._job(tmp_path))[-1] == "--output_file=outputs/0"

    def test_single_times_after_the_warm_up_are_read(self, tmp_path):
        timing = self.runner.timing(self.printed, job=self._job(tmp_path))
        assert timing.elapsed_ns.tolist() == [2.5e6, 3.5e6, 4.5e6]
        assert timing.memory == Memory(peak_rss_bytes=None, model_rss_bytes=None)

    def test_an_old_runner_gives_the_mean_and_a_note_says_so(self, tmp_path):
        timing = self.runner.timing(self.old, job=self._job(tmp_path))
        assert timing.elapsed_ns.tolist() == [10e6] * 3
        assert "every value is the mean of its invocation, warm-up included" in timing.notes[0]

    @pytest.mark.parametrize(
        ("printed", "words"),
        [
            ("", "printed no 'Model executed successfully'"),
            (old.replace("4 time", "3 time"), "reported 3 inferences instead of 4"),
            (printed.replace("Iteration 2 of 4: 2.500000 ms\n", ""), "not those of the iterations 1 to 4"),
            (printed.replace(": 3.500000", ": inf"), "'inf', which is not a positive number"),
        ],
    )
    def test_an_incomplete_output_has_no_figures(self, tmp_path, printed, words):
        with pytest.raises(NoFigures, match=words):
            self.runner.timing(printed, job=self._job(tmp_path))


class TestPerfTest:
    """ONNX Runtime's runner."""

    runner = RUNNERS["onnx"]
    written = "".join(f"f00d,{0.001 * (n + 1):g},68116480,97,{n}\n" for n in range(6))

    def _job(self, tmp_path):
        return _job(_file(tmp_path, format="onnx", inputs=(CLIP, TEXT)), count=5, warm_up=2)

    def test_its_command_line_counts_its_own_warm_up(self, tmp_path):
        command = " ".join(self.runner.command(self._job(tmp_path)))
        assert command == "/p/runner -m times -r 6 -x 4 -y 1 ./model.onnx times.csv"

    def test_single_times_after_the_warm_up_and_the_peak_memory_are_read(self, tmp_path):
        timing = self.runner.timing(self.written, job=self._job(tmp_path))
        assert timing.elapsed_ns == pytest.approx([2e6, 3e6, 4e6, 5e6, 6e6])
        assert timing.memory == Memory(peak_rss_bytes=68116480, model_rss_bytes=None)

    def test_a_lost_line_or_another_number_is_not_a_figure(self, tmp_path):
        with pytest.raises(NoFigures, match=r"wrote 5 times to times.csv, not those of the runs 0 to 5"):
            self.runner.timing(
                self.written.replace("f00d,0.003,68116480,97,2\n", ""), job=self._job(tmp_path)
            )
        with pytest.raises(NoFigures, match="'-nan', which is not a positive number"):
            self.runner.timing(self.written.replace("0.003", "-nan"), job=self._job(tmp_path))

    def test_it_gives_no_logits(self, tmp_path):
        with pytest.raises(
            Unavailable, match="onnxruntime_perf_test gives no outputs; measure accuracy on `host`"
        ):
            self.runner.infer_command(self._job(tmp_path))

    @pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int64"])
    def test_its_inputs_are_those_that_the_package_onnx_reads(self, tmp_path, dtype):
        import onnx
        from onnx import numpy_helper

        tensor = FileTensor(name="clip", shape=(1, 4, 300, 2, 3), dtype=dtype, layout="NTHWC")
        values = np.random.default_rng(3).integers(-9, 9, (1, 3, 4, 300, 2)).astype(dtype)
        file = _file(tmp_path, format="onnx", inputs=(tensor,))
        self.runner.write_inputs(tmp_path, {"clip": values}, file=file, clip=0)
        read = onnx.TensorProto.FromString((tmp_path / "input_0.pb").read_bytes())
        assert read.name == "clip"
        array = numpy_helper.to_array(read)
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, values.transpose(0, 2, 3, 4, 1))
