"""One exported file on a phone: every measurement is one invocation of the runner of its format."""

from __future__ import annotations

import math
import re
import shlex
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from benchmarks.adb.attached import Attached
from benchmarks.adb.client import Output, TimedOut
from benchmarks.adb.invocation import MODEL, Job, NoFigures, Runner, Timing
from benchmarks.device import Memory, SessionFailed, Unavailable
from benchmarks.files import ExportedFile

_LIMIT_S = 600.0
_CLIP_LIMIT_S = 60.0
_QUIT_LIMIT_S = 5.0
_WARM_UP_S = 0.3
"""Time of the unmeasured inferences at the beginning of each invocation, so that the clock has risen."""
_MOST_WARM_UP = 200
_RESULT, _SYSTEM_LOG = "pocketreel-result", "pocketreel-system-log"
"""Begin the parts of the output: after what the runner printed, its result file and its lines in the system log."""
_CANNOT_START = (126, 127)
_SIGNALS = {
    4: "SIGILL",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL (often: out of memory)",
    11: "SIGSEGV",
    15: "SIGTERM",
}
"""Those of Linux, whatever system runs adb; a shell reports 128 more as the exit code."""
_LAST_WORDS_LINES = 3


class PhoneSession:
    """The `Session` of a phone.

    A run is a process of its own: it loads the file, warms up and runs. Runs of several files are therefore
    interleaved in the order in which `time_runs` is called. Raises `Unavailable` where the phone, the connection or
    the runner is at fault, `SessionFailed` where the file is.
    """

    def __init__(self, phone: Attached, file: ExportedFile, runner: Runner | None) -> None:
        self._phone = phone
        self._file = file
        self._given_runner = runner
        self._folder = ""
        self._one_s: float | None = None
        self._last: Timing | None = None

    def __enter__(self) -> PhoneSession:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Removes inputs and outputs from the phone, if it is still there; nothing runs between invocations."""
        if self._folder:
            names = f"{self._runner.inputs} {self._runner.result or ''} outputs infer.sh infer.log pid"
            with suppress(Unavailable):
                self._phone.adb.shell(
                    f"cd {shlex.quote(self._folder)} && rm -rf {names}", limit_s=_QUIT_LIMIT_S
                )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the runner's times are, and the thermal state of the phone."""
        return (() if self._last is None else self._last.notes) + self._phone.cooling.notes()

    def load(self, *, threads: int) -> str:
        """Copies runner and file, and runs the file once on zeros; returns the runner's name and hash."""
        runner = self._runner
        self._threads = threads
        self._program, digest = self._phone.install(runner)
        self._folder = self._phone.send_file(self._file, f"{MODEL}{self._file.path.suffix}")
        zeros = {tensor.name: np.zeros(tensor.canonical_shape, tensor.dtype) for tensor in self._file.inputs}
        self.hold(zeros)
        self._invoke(count=1)
        return f"{runner.name} (sha256 {digest[:12]})"

    def hold(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Copies the canonical inputs (`1 ...`) of one clip to the phone."""
        self._send_inputs(inputs)

    def time_runs(self, count: int) -> np.ndarray:
        """Times `count` inferences in one invocation, in nanoseconds, once the phone is cool.

        Where the runner prints no single times, all values are the median or mean of the invocation, and `notes`
        tells it.
        """
        self._phone.cooling.wait()
        return self._invoke(count=count).elapsed_ns

    def memory(self) -> Memory:
        """Memory that the runner reported last."""
        assert self._last is not None, "nothing has been run"
        return self._last.memory

    def begin_infer(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Copies canonical inputs of N clips to the phone. Raises `Unavailable` if the runner gives no logits."""
        self._runner.infer_command(self._job(count=1, warm_up=0))
        self._clips = self._send_inputs(inputs)

    def end_infer(self) -> list[np.ndarray]:
        """Logits `N K` of `begin_infer`, float32, one array per output; one invocation per clip."""
        runner = self._runner
        commands = [
            shlex.join(runner.infer_command(self._job(count=1, warm_up=0, clip=clip)))
            for clip in range(self._clips)
        ]
        script = "echo $$ > pid; rm -rf outputs && mkdir outputs || exit\n" + "\n".join(
            f"{command} > infer.log 2>&1 || {{ code=$?; cat infer.log; exit $code; }}" for command in commands
        )
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch)
            (local / "infer.sh").write_text(f"{script}\ncat infer.log\n")
            self._phone.adb.push(local / "infer.sh", f"{self._folder}/infer.sh")
            done = self._run("sh infer.sh", _LIMIT_S + _CLIP_LIMIT_S * self._clips)
            self._check_exit(done, done.text)
            runner.check_outputs(done.text)
            self._phone.adb.pull(f"{self._folder}/outputs", local)
            return self._read_outputs(local / "outputs", done.text)

    @property
    def _runner(self) -> Runner:
        if self._given_runner is None:
            raise Unavailable(
                f"a phone has no runner for the format {self._file.format!r}; measure it elsewhere"
            )
        return self._given_runner

    def _job(self, *, count: int, warm_up: int, clip: int = 0) -> Job:
        return Job(
            program=self._program,
            file=self._file,
            threads=self._threads,
            count=count,
            warm_up=warm_up,
            clip=clip,
        )

    def _send_inputs(self, inputs: Mapping[str, np.ndarray]) -> int:
        """Replaces the inputs on the phone by those of N clips; returns N."""
        name = self._runner.inputs
        clips = len(next(iter(inputs.values())))
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, name)
            folder.mkdir()
            for clip in range(clips):
                one = {key: values[clip : clip + 1] for key, values in inputs.items()}
                self._runner.write_inputs(folder, one, file=self._file, clip=clip)
            self._phone.adb.shell(f"rm -rf {shlex.quote(f'{self._folder}/{name}')}")
            self._phone.adb.push(folder, self._folder)
        return clips

    def _invoke(self, *, count: int) -> Timing:
        warm_up = 1 if self._one_s is None else min(_MOST_WARM_UP, math.ceil(_WARM_UP_S / self._one_s))
        job = self._job(count=count, warm_up=warm_up)
        command = shlex.join([*self._phone.pinning, *self._runner.command(job)])
        result = self._runner.result
        # A subshell that becomes the runner, so that its process id finds its lines in the system log.
        script = [f"rm -f {result}"] if result else []
        script += [
            f"(exec {command}) &",
            "process=$!",
            "echo $process > pid",
            "wait $process",
            "code=$?",
            "rm pid",
        ]
        script += ["echo", f"echo {_RESULT}", f"cat {result}"] if result else []
        # ExecuTorch's messages go to the system log on Android.
        script += ["echo", f"echo {_SYSTEM_LOG}", "logcat -d -v raw --pid=$process 2>/dev/null", "exit $code"]
        done = self._run("\n".join(script), _LIMIT_S)
        printed, _, log = done.text.partition(f"\n{_SYSTEM_LOG}\n")
        self._check_exit(done, printed + log)
        self._last = self._read(printed, log, job)
        self._one_s = float(np.median(self._last.elapsed_ns)) / 1e9
        return self._last

    def _run(self, script: str, limit_s: float) -> Output:
        folder = shlex.quote(self._folder)
        try:
            return self._phone.adb.shell(
                f"cd {folder} || exit\n{self._phone.environment}{script}", limit_s=limit_s
            )
        except TimedOut:
            self._phone.adb.shell(f"kill -9 $(cat {folder}/pid); rm -f {folder}/pid")
            raise self._failure(f"did not end within {limit_s:g} s and was killed") from None

    def _read(self, printed: str, log: str, job: Job) -> Timing:
        """Figures from what the runner printed, or else from its lines in the system log."""
        try:
            return self._runner.timing(printed, job=job)
        except NoFigures as error:
            if not log.strip():
                raise self._failure(f"{error}{_last_words(printed)}") from None
        try:
            return self._runner.timing(log, job=job)
        except NoFigures as error:
            raise self._failure(f"{error}{_last_words(printed + log)}") from None

    def _check_exit(self, done: Output, printed: str) -> None:
        if done.code == 0:
            return
        if done.code in _CANNOT_START or "CANNOT LINK EXECUTABLE" in printed:
            raise Unavailable(
                f"{self._phone.adb}: {self._runner.name} cannot be started (exit code {done.code})"
                f"{_last_words(printed)}; give a runner that is built for this phone, and the shared libraries "
                "that it needs as `libraries`"
            )
        if done.code - 128 in _SIGNALS:
            raise self._failure(f"was ended by {_SIGNALS[done.code - 128]}{_last_words(printed)}")
        raise self._failure(f"exited with code {done.code}{_last_words(printed)}")

    def _read_outputs(self, folder: Path, printed: str) -> list[np.ndarray]:
        """Checks and stacks `CLIP-OUTPUT.bin`."""
        logits = []
        for index, tensor in enumerate(self._file.outputs):
            rows = np.empty((self._clips, tensor.shape[-1]), np.float32)
            for clip in range(self._clips):
                path = folder / f"{clip}-{index}.bin"
                size = math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
                found = path.stat().st_size if path.exists() else None
                if found != size:
                    raise self._failure(
                        f"wrote {'nothing' if found is None else f'{found} bytes'} as output {tensor.name!r} of a "
                        f"clip, not {size} bytes{_last_words(printed)}"
                    )
                rows[clip] = np.frombuffer(path.read_bytes(), tensor.dtype).reshape(tensor.shape)[0]
            logits.append(rows)
        return logits

    def _failure(self, what: str) -> SessionFailed:
        return SessionFailed(f"{self._file.title}: {self._runner.name} on {self._phone.adb} {what}")


def _last_words(printed: str) -> str:
    """The last lines of an output, without characters that a terminal would interpret."""
    text = re.sub(r"[^\x20-\x7e\n]+", "?", printed.partition(f"\n{_RESULT}\n")[0])
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"; last output: {' | '.join(line[:200] for line in lines[-_LAST_WORDS_LINES:])}" if lines else ""
