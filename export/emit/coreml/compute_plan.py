"""The device on which Core ML plans to run every operator of a package; on an Apple system only."""

from __future__ import annotations

import platform
from pathlib import Path

from export.emit.coreml.macs import macs
from export.emit.coreml.saved import import_quietly, read_program
from export.emit.coreml.step import Step

DEVICES = {
    "MLNeuralEngineComputeDevice": "the Neural Engine",
    "MLGPUComputeDevice": "the GPU",
    "MLCPUComputeDevice": "the CPU",
}
"""Class of a device in coremltools -> its name in messages."""


def planned_steps(path: Path) -> tuple[list[Step], str]:
    """Every operator of the package at `path` with the device that Core ML prefers for it, and the source.

    All compute units are allowed. Raises the errors of coremltools if Core ML cannot load the package.
    """
    import_quietly()
    import coremltools
    from coremltools.models.compute_plan import MLComputePlan

    counts = {operation.outputs[0].name: macs(operation) for operation in read_program(path).operations}
    model = coremltools.models.MLModel(str(path), compute_units=coremltools.ComputeUnit.ALL)
    plan = MLComputePlan.load_from_path(model.get_compiled_model_path(), coremltools.ComputeUnit.ALL)
    program = plan.model_structure.program
    assert program is not None, "an ML program has a structure"
    steps = []
    for operation in program.functions["main"].block.operations:
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        if usage is not None:  # constants have none
            names = [type(device).__name__ for device in usage.supported_compute_devices]
            name = operation.outputs[0].name
            steps.append(
                Step(
                    node=name,
                    operator=operation.operator_name.rpartition(".")[2],
                    macs=counts.get(name, 0),
                    refusal=planned_refusal(type(usage.preferred_compute_device).__name__, names),
                )
            )
    return steps, f"compute plan of Core ML, macOS {platform.mac_ver()[0]}, {platform.machine()}"


def planned_refusal(preferred: str, supported: list[str]) -> str | None:
    """Why the Neural Engine does not run an operator, from the classes of the devices; `None` if it does."""
    if preferred == "MLNeuralEngineComputeDevice":
        return None
    where = DEVICES.get(preferred, preferred)
    if "MLNeuralEngineComputeDevice" in supported:
        return f"Core ML runs it on {where}, although the Neural Engine could"
    return f"Core ML runs it on {where}; the Neural Engine does not take it"
