import sys

import numpy as np
import pytest

from export.emit.coreml.compute_plan import planned_refusal, planned_steps
from export.emit.coreml.coverage import Step, cover, summarise
from export.emit.coreml.macs import macs
from export.emit.coreml.neural_engine import refusal
from tests.export.emit.coreml.programs import Builder, ct, saved, types

X = np.zeros((1, 2, 4, 4), np.float32)


def step(node, macs=0, refusal=None):
    return Step(node=node, operator="conv", macs=macs, refusal=refusal)


def test_steps_add_up_to_a_coverage():
    steps = [
        step("a", 10),
        step("b", 5, "too large"),
        step("c", 20),
        step("d"),
        step("e", 0, "no such operator"),
    ]
    found = summarise(steps, "a table", places={"b": "net.py:3 `y = f(x)`"})
    assert (found.macs, found.accelerated_macs, found.partitions) == (35, 30, 2)
    assert [(one.node, one.macs, one.reason, one.place) for one in found.left] == [
        ("b", 5, "too large", "net.py:3 `y = f(x)`"),
        ("e", 0, "no such operator", None),
    ]
    assert found.source == "a table"


@pytest.mark.parametrize(
    ("node", "place"),
    [("conv2d_1_cast_fp16", "second"), ("conv2d_cast_fp16", "first"), ("conv2d_0", None), ("other", None)],
)
def test_a_node_has_the_place_of_the_torch_node_that_it_is_named_after(node, place):
    found = summarise([step(node, 1, "why")], "", places={"conv2d": "first", "conv2d_1": "second"})
    assert found.left[0].place == place


def test_a_program_without_products_is_covered():
    assert summarise([], "", places={}).share == 1


def halves(*shape):
    return np.zeros(shape, np.float16)


INPUT = object()
"""Placeholder for the input of the program."""


def operation(name, shape=(1, 2, 4, 4), kind=types.fp16, **given):
    """One operator on an input of that shape and type."""
    found = []

    def build(x):
        filled = {key: x if value is INPUT else value for key, value in given.items()}
        outputs = getattr(Builder, name)(**filled)
        found.append((outputs if isinstance(outputs, list | tuple) else [outputs])[0])
        return found[0]

    Builder.program(input_specs=[Builder.TensorSpec(shape, kind)], opset_version=ct.target.iOS18)(build)
    return found[0].op


STATE = {"initial_h": halves(2, 4), "weight_ih": halves(16, 3), "weight_hh": halves(16, 4)}


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: operation("conv", x=INPUT, weight=halves(4, 2, 3, 3)), None),
        (lambda: operation("conv", kind=types.fp32, x=INPUT, weight=X.repeat(2, 1)[:, :2, :3]), "works on float32"),
        (lambda: operation("conv", (1, 2, 4, 4, 4), x=INPUT, weight=halves(4, 2, 1, 3, 3)), "conv of rank 5"),
        (lambda: operation("conv", (1, 2, 4, 20), x=INPUT, weight=halves(4, 2, 1, 14)), "a kernel of 1 x 14"),
        (lambda: operation("conv", (1, 2, 40, 4), x=INPUT, weight=halves(4, 2, 30, 1)), "a kernel of 30 x 1"),
        (lambda: operation("conv", (1, 2, 16, 12544), x=INPUT, weight=halves(4, 2, 3, 1)), None),
        (lambda: operation("conv", (1, 2, 8, 16385), x=INPUT, weight=halves(4, 2, 3, 1)), "a side of 16385"),
        (lambda: operation("relu", (65537, 2), x=INPUT), "a side of 65537"),
        (lambda: operation("relu", (65537, 2, 3, 3), x=INPUT), "an axis of 65537"),
        (lambda: operation("relu", (1, 1, 1, 1, 1, 2), kind=types.fp16, x=INPUT), "rank 6"),
        (lambda: operation("matmul", (1, 1, 1, 2, 2), x=INPUT, y=INPUT), "matmul of rank 5"),
        (lambda: operation("pad", x=INPUT, pad=[0, 0, 1, 1]), None),
        (lambda: operation("pad", x=INPUT, pad=[1, 0, 0, 0, 1, 1]), "pads other axes than rows and columns"),
        (lambda: operation("add", kind=types.int32, x=INPUT, y=1), "works on int32"),
        (lambda: operation("cast", kind=types.fp32, x=INPUT, dtype="fp16"), None),
        (lambda: operation("sin", x=INPUT), "only from A15 / M3 on"),
        (lambda: operation("cosh", x=INPUT), "no such operator"),
        (lambda: operation("lstm", (5, 2, 3), x=INPUT, initial_c=halves(2, 4), **STATE), "no recurrent cells"),
        (lambda: operation("batch_to_space", (4, 2, 2, 2), x=INPUT, block_shape=[2, 2], crops=[[0, 0], [0, 0]]),
         "no source covers this operator"),
    ],
)  # fmt: skip
def test_what_the_neural_engine_takes_and_refuses(made, reason):
    found = refusal(made())
    assert found is None if reason is None else reason in found


@pytest.mark.parametrize(
    ("made", "count"),
    [
        (
            lambda: operation("conv", x=INPUT, weight=halves(6, 1, 3, 3), groups=2, pad_type="same"),
            6 * 16 * 9,
        ),
        (lambda: operation("conv_transpose", x=INPUT, weight=halves(2, 6, 3, 3)), 2 * 16 * 6 * 9),
        (lambda: operation("linear", (3, 8), x=INPUT, weight=halves(5, 8)), 3 * 5 * 8),
        (lambda: operation("matmul", (2, 8, 3), x=INPUT, y=halves(8, 5), transpose_x=True), 2 * 3 * 5 * 8),
        (
            lambda: operation(
                "scaled_dot_product_attention", (1, 2, 6, 4), query=INPUT, key=INPUT, value=INPUT
            ),
            2 * 6 * 6 * (4 + 4),
        ),
        (
            lambda: operation("lstm", (5, 2, 3), x=INPUT, initial_c=halves(2, 4), **STATE),
            5 * 2 * 16 * (3 + 4),
        ),
        (lambda: operation("relu", x=INPUT), 0),
    ],
)
def test_multiply_adds(made, count):
    assert macs(made()) == count


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML's compute plan is used there")
def test_a_saved_program_is_looked_up_in_the_tables(tmp_path):
    path = saved(
        tmp_path, lambda x: Builder.cosh(x=Builder.conv(x=x, weight=X.repeat(2, 0)[:, :, :3]), name="c")
    )
    found = cover(path, places={})
    assert "not measured" in found.source and found.accelerated_macs == 0
    assert [one.operator for one in found.left] == ["conv", "cosh"]


def test_reasons_of_a_compute_plan():
    engine, gpu, cpu = (f"ML{name}ComputeDevice" for name in ("NeuralEngine", "GPU", "CPU"))
    assert planned_refusal(engine, [cpu, engine]) is None
    assert (
        planned_refusal(gpu, [cpu, gpu]) == "Core ML runs it on the GPU; the Neural Engine does not take it"
    )
    assert (
        planned_refusal(cpu, [cpu, engine]) == "Core ML runs it on the CPU, although the Neural Engine could"
    )


@pytest.mark.skipif(sys.platform != "darwin", reason="only Core ML itself has a compute plan")
def test_core_ml_plans_every_operator(tmp_path):
    path = saved(tmp_path, lambda x: Builder.relu(x=Builder.conv(x=x, weight=X.repeat(2, 0)), name="out"))
    steps, source = planned_steps(path)
    assert [one.operator for one in steps if one.macs] == ["conv"]
    assert source.startswith("compute plan of Core ML")
