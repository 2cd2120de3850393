"""`python -m compress.studies.comparison`: measures every network of the table and writes the page and the figures.

Results of the same code, versions and settings are cached. Exit codes: 0 all criteria are met, 1 a line of the
acceptance table is not met, 2 an argument is invalid, 3 a network could not be measured.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from compress.command import FAILED, GATE_FAILED, OK, only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.supervise import Resume
from compress.command.terminal import output

if not only_reads_arguments(__name__):
    from benchmarks.host import HOST
    from compress.command.sentence import in_a_sentence
    from compress.folders.locks import held
    from compress.folders.output import check_clear, check_output_file, check_output_page, write_output_file
    from compress.folders.writing import Damaged, read_sealed_json, write_sealed_json
    from compress.studies.comparison.acceptance import judge
    from compress.studies.comparison.files import check_peers
    from compress.studies.comparison.measure import Effort, measure
    from compress.studies.comparison.networks import NETWORKS
    from compress.studies.comparison.page import HEADING, page
    from compress.versions import installed
    from export.process.quiet import silence_libraries

PAGE, RESULTS = Path("docs/comparison.md"), Path("benchmarks/results/comparison.json")

_DISTRIBUTIONS = (
    *("torch", "torchao", "onnx", "onnxruntime", "ai-edge-litert", "executorch", "coremltools"),
    *("openvino", "nncf"),
)
_ONLY_SAY = ("page.py", "acceptance.py", "__main__.py")
"""Files of this package that only format figures; changes in them do not invalidate figures."""


def main(
    networks: Annotated[
        str | None, typer.Option(metavar="A,B", help="Networks to measure.", show_default="all")
    ] = None,
    rounds: Annotated[int, typer.Option(min=6, metavar="N", help="Interleaved rounds of each latency.")] = 30,
    clips: Annotated[
        int,
        typer.Option(min=8, metavar="N", help="Number of unseen clips for the agreement of int8 and float."),
    ] = 200,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed of weights, clips and the order of rounds.")
    ] = 0,
    peers: Annotated[
        bool, typer.Option("--peers", help="Measure OpenVINO too (needs openvino and nncf).")
    ] = False,
    any_code: Annotated[
        bool,
        typer.Option(
            "--any-code", help="Also use figures of other versions of the code; the page lists them."
        ),
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for files and figures of each network.")] = Path(
        "out/comparison"
    ),
    page_path: Annotated[Path, typer.Option("--page", help="Output path of the page.")] = PAGE,
    results: Annotated[Path, typer.Option(help="Output path of all figures.")] = RESULTS,
) -> None:
    """Exports every network of the table, compares it with torch and with the naive export, and writes a page.

    Exit codes: 0 all criteria are met, 1 a line of the acceptance table is not met, 2 an argument is invalid,
    3 a network could not be measured.
    """
    silence_libraries()
    console = output()
    with exit_codes():
        names = _chosen(networks)
        check_output_page(page_path, begin=HEADING, option="--page")
        check_output_file(results, is_ours=_is_ours, option="--results")
        check_clear(out, ())
        if peers:
            check_peers()
    effort = Effort(seed=seed, clips=clips, rounds=rounds, peers=peers)
    figures, failed = {}, {}
    with ExitStack() as stack:
        with exit_codes():
            stack.enter_context(held(out))
        for done, name in enumerate(names, start=1):
            console.print(f"{name} ({done} of {len(names)})", markup=False)
            try:
                figures[name] = compare(name, out, effort=effort, console=console, any_code=any_code)
            except Exception as error:  # one network does not stop the others
                failed[name] = in_a_sentence(error)
                console.print(f"  failed: {failed[name]}", markup=False)
    device = HOST.describe()
    system = f"{platform.system()} {platform.machine().replace('_', '-')}"
    command = shlex.join(["python", "-m", "compress.studies.comparison", *sys.argv[1:]])
    told = {
        "machine": f"{device.cpu}, {device.cores} cores, {system}, load {device.load_1min:.1f} at the end",
        "versions": ", ".join(f"{name} {number}" for name, number in installed(_DISTRIBUTIONS).items()),
        "command": command,
    }
    write_output_file(page_path, page(figures, failed=failed, effort=effort, **told) + "\n", option="--page")
    document = {**told, "effort": asdict(effort), "networks": figures, "failed": failed}
    document_text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_output_file(results, document_text, option="--results")
    lines = judge(figures)
    for line in lines:
        verdict = {True: "holds", False: "does not hold", None: "not measured"}[line.holds]
        console.print(f"{verdict}: {line.text} ({line.found})", markup=False)
    console.print(f"page: {page_path}", markup=False)
    if failed:
        raise typer.Exit(FAILED)
    raise typer.Exit(GATE_FAILED if any(line.holds is False for line in lines) else OK)


def compare(
    name: str, out: Path, *, effort: Effort, console: Console, any_code: bool = False
) -> dict[str, Any]:
    """The figures of one network: those in `out/<name>.json` if they match this code, else measured again.

    With `any_code`, figures of other versions of the code are used, too. `code` is the start of its hash.
    """
    path = out / f"{name}.json"
    key = json.loads(
        json.dumps([asdict(effort), asdict(NETWORKS[name]), installed(_DISTRIBUTIONS), _source()])
    )
    kept = _kept(path, console)
    if kept is not None:
        *settings, code = kept["key"]
        if settings == key[:-1] and (any_code or code == key[-1]):
            console.print(f"  cached, code {code[:7]}", markup=False)
            return {**kept["figures"], "code": code[:7]}
    found = measure(NETWORKS[name], out / name, effort=effort, notify=lambda what: console.print(f"  {what}"))
    found = json.loads(json.dumps(found, allow_nan=False))
    write_sealed_json(path, {"key": key, "figures": found})
    return {**found, "code": key[-1][:7]}


def _kept(path: Path, console: Console) -> dict[str, Any] | None:
    """Cached figures of a network; None, with a message, if they are damaged."""
    if not path.is_file():
        return None
    try:
        return read_sealed_json(path)
    except Damaged as damage:
        console.print(f"  measured again, because {damage}", markup=False)
        return None


def _chosen(given: str | None) -> list[str]:
    names = list(NETWORKS) if given is None else [name.strip() for name in given.split(",")]
    unknown = [name for name in names if name not in NETWORKS]
    if unknown:
        raise ValueError(f"--networks: {unknown[0]!r} is not in the table; allowed: {', '.join(NETWORKS)}")
    return names


def _is_ours(content: Any) -> bool:
    """Whether the content of a JSON file was written by this command."""
    return {"machine", "effort", "networks", "failed"} <= set(content)


def _source() -> str:
    """Hash of the code that computes figures."""
    here = Path(__file__).resolve().parent
    root = here.parents[2]
    digest = hashlib.sha256()
    for folder in (root / "models", root / "export", root / "benchmarks", here):
        for path in sorted(folder.rglob("*.py")):
            if not (folder == here and path.name in _ONLY_SAY):
                digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    run_command(main, resume=Resume(says="finished networks are cached; resume with"))
