"""Decides which values of a lowered graph are int8 or stored in fewer bits, and measures the quantization cost."""
