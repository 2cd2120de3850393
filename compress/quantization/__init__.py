"""The tables of quantization methods, and of bounds of mixed precision. A new row is a file here and one line."""

from __future__ import annotations

from compress.quantization.adaptive import ADAROUND
from compress.quantization.bound import Bound
from compress.quantization.drop_bound import until_drop
from compress.quantization.latency_bound import while_fast
from compress.quantization.lsq import LSQ
from compress.quantization.method import QuantizationMethod
from compress.quantization.ptq import PTQ
from compress.quantization.qat import QAT
from compress.quantization.size_bound import while_fits

QUANTIZATION_METHODS: dict[str, QuantizationMethod] = {
    "ptq": PTQ,
    "adaround": ADAROUND,
    "qat": QAT,
    "lsq": LSQ,
}

BOUNDS: dict[str, Bound] = {
    "max_drop_pp": until_drop,
    "max_size_bytes": while_fits,
    "max_latency_ms": while_fast,
    "max_latency": while_fast,
}
