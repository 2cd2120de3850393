"""Pointwise operators are identified by torch's tag: which these are, and what partial lists omit."""

from __future__ import annotations

import pytest
import torch

from export.layout.per_frame import rules as per_frame_rules
from export.layout.per_frame.aligned import ALONG
from export.layout.per_frame.rewrite import BINARY
from export.lower.composites.rewriting import BROADCASTING, COMPARISONS
from export.lower.elementwise import arithmetic, elementwise, unary
from export.lower.rules import KEPT_WHOLE, NOT_WRITTEN, POINTWISE, RULES

aten = torch.ops.aten


def operators(names):
    return {getattr(getattr(aten, name.partition(".")[0]), name.partition(".")[2]) for name in names.split()}


UNARY = operators("""
    relu.default relu6.default hardtanh.default clamp.default clamp_min.default clamp_max.default
    hardswish.default hardsigmoid.default silu.default sigmoid.default tanh.default gelu.default
    elu.default leaky_relu.default exp.default expm1.default log.default log1p.default neg.default
    abs.default sign.default sqrt.default rsqrt.default reciprocal.default sin.default cos.default
    erf.default log2.default log10.default tan.default atan.default asin.default acos.default
    sinh.default cosh.default asinh.default acosh.default atanh.default trunc.default isnan.default
    isinf.default bitwise_not.default floor.default ceil.default round.default pow.Tensor_Scalar
    gt.Scalar ge.Scalar lt.Scalar le.Scalar eq.Scalar ne.Scalar logical_not.default
""")
"""Operators on one tensor in the list that the tag replaced."""

SEVERAL = operators("""
    maximum.default minimum.default pow.Tensor_Tensor atan2.default remainder.Tensor fmod.Tensor
    div.Tensor_mode where.self gt.Tensor ge.Tensor lt.Tensor le.Tensor eq.Tensor ne.Tensor
    logical_and.default logical_or.default bitwise_and.Tensor bitwise_or.Tensor
""")
"""Operators on several tensors in that list."""


@pytest.mark.parametrize(("rule", "by_hand"), [(unary, UNARY), (elementwise, SEVERAL)])
def test_the_tag_finds_what_the_list_by_hand_had(rule, by_hand):
    """For another version of torch with other core operators: check that every writer supports a new one."""
    found = {operator for operator, its in RULES.items() if its is rule}
    assert found == by_hand, (
        f"new: {sorted(map(str, found - by_hand))}, lost: {sorted(map(str, by_hand - found))}"
    )


def test_arithmetic_is_pointwise_but_for_what_torch_forgot():
    """`rsub` of two tensors is `sub` with swapped operands, and has no tag."""
    found = {operator for operator, rule in RULES.items() if rule is arithmetic}
    assert {one for one in found if torch.Tag.pointwise not in one.tags} == {aten.rsub.Tensor}


def test_what_is_kept_whole_is_no_core_operator():
    """`hardswish` has no tag either, although it is pointwise."""
    assert not any(torch.Tag.core in one.tags for one in KEPT_WHOLE)
    assert {one for one in KEPT_WHOLE if torch.Tag.pointwise not in one.tags} == {aten.hardswish.default}
    assert all(torch.Tag.pointwise in one.tags and one not in RULES for one in NOT_WRITTEN)


def test_what_lists_of_some_pointwise_operators_leave_out():
    """These lists choose among pointwise operators; each states what it omits, and why."""
    several = {one for one in POINTWISE if RULES[one] is not unary} - {aten.rsub.Scalar}
    scalars = {one for one in several if "Scalar" in str(one)}
    logic = {
        aten.logical_and.default,
        aten.logical_or.default,
        aten.bitwise_and.Tensor,
        aten.bitwise_or.Tensor,
    }
    # Comparisons return another type, logical and bitwise operators take no floats, and the type of the exponent
    # determines the algorithm of a power.
    left_out = {*COMPARISONS, *logic, aten.pow.Tensor_Tensor}
    assert set(BROADCASTING) == several - scalars - left_out
    # Functions between layers are written frame by frame, which avoids moving frames; others are copied whole, with
    # joined inputs.
    frame_by_frame = {one for one, rule in per_frame_rules.RULES.items() if rule is per_frame_rules.unary}
    assert frame_by_frame < UNARY and set(BINARY) < set(BROADCASTING)
    # Channels of zeros are added: functions that are not finite there, and quotients, are excluded.
    along = set(ALONG) & {*POINTWISE, *KEPT_WHOLE}
    assert {one for one in ALONG if one not in along} == {
        *(aten.mean.dim, aten.max_pool2d.default, aten.avg_pool2d.default),
        *(aten.adaptive_avg_pool2d.default, aten.upsample_nearest2d.default),
    }
    assert not along & {aten.div.Tensor, aten.log.default, aten.rsqrt.default, aten.reciprocal.default}
