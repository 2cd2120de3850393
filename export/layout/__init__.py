"""Layouts of the frames of a lowered network: per frame, in stream order, or with fused temporal taps."""
