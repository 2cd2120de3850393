"""The table of quantization methods. A new one is a file here and one line."""

from __future__ import annotations

from compress.quantization.adaptive import ADAROUND
from compress.quantization.lsq import LSQ
from compress.quantization.method import QuantizationMethod
from compress.quantization.ptq import PTQ
from compress.quantization.qat import QAT

QUANTIZATION_METHODS: dict[str, QuantizationMethod] = {
    "ptq": PTQ,
    "adaround": ADAROUND,
    "qat": QAT,
    "lsq": LSQ,
}
