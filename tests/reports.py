"""A report as a run on Linux writes it: three int8 files measured, a Core ML file that only a Mac can run."""

from __future__ import annotations

import math

from compress.record import StageRecord
from compress.report_shape import FileReport, Report

ON_A_MAC = "Core ML predicts on macOS only; run pocketreel bench there on the same folder"


def artifact(name: str, extension: str, *, top1: float | None, p50_ms: float | None) -> FileReport:
    measured = top1 is not None and p50_ms is not None
    why = {} if measured else {"reason": ON_A_MAC}
    return {
        "format": name,
        "path": f"export/{name}/w8a8/model{extension}",
        "scheme": "w8a8",
        "size_bytes": 412_000 if name == "onnx" else 389_000 + 40_000 * len(name),
        "status": "exported",
        "reason": None,
        "accuracy": {
            "top1": top1,
            "ci95": (top1 - 0.024, top1 + 0.019) if top1 is not None else None,
            "clips": 480 if measured else 0,
            "runtime": {"onnx": "ONNX Runtime 1.31.1", "tflite": "LiteRT 2.3.0"}.get(name, name),
            **why,
        },
        "parity": {
            "max_abs_error": 0.21 if measured else None,
            "sqnr_db": 31.4 if measured else None,
            "top1_agreement": 0.9917 if measured else None,
            **why,
        },
        "latency": [
            {
                "device": "host",
                "threads": 1,
                "p50_ms": p50_ms,
                "p90_ms": p50_ms * 1.12 if p50_ms else None,
                "p99_ms": p50_ms * 1.7 if p50_ms else None,
                "peak_rss_bytes": 61_000_000 if measured else None,
                **why,
            }
        ],
        "seconds": 4.2,
    }


def _curve(epochs: int, *, start: float, end: float) -> list[dict[str, float | None]]:
    rows: list[dict[str, float | None]] = []
    for epoch in range(epochs):
        rest = math.exp(-4 * epoch / epochs)
        rows.append(
            {
                "epoch": epoch + 1,
                "loss": 0.2 + 1.8 * rest + 0.05 * math.sin(5 * epoch),
                "validation_top1": end - (end - start) * rest,
                "learning_rate": 0.003 * math.cos(epoch / epochs * math.pi / 2),
            }
        )
    return rows


def _stages() -> list[StageRecord]:
    return [
        {
            "name": "teacher",
            "path": "teacher",
            "seconds": 94.0,
            "cached": True,
            "before": {},
            "after": {"top1": 0.9812, "parameters": 1_240_000, "macs": 412_000_000},
            "curve": _curve(14, start=0.2, end=0.98),
        },
        {
            "name": "distill",
            "path": "stages.0.distill",
            "seconds": 71.5,
            "cached": False,
            "before": {"top1": 0.125, "parameters": 291_000, "macs": 61_300_000},
            "after": {"top1": 0.9354, "parameters": 291_000, "macs": 61_300_000, "labels_only_top1": 0.8896},
            "curve": _curve(12, start=0.13, end=0.93),
        },
        {
            "name": "prune",
            "path": "stages.1.prune",
            "seconds": 33.1,
            "cached": False,
            "before": {"top1": 0.9354, "parameters": 291_000, "macs": 61_300_000},
            "after": {"top1": 0.9312, "parameters": 148_000, "macs": 33_400_000},
            "curve": _curve(4, start=0.7, end=0.93),
        },
        {
            "name": "quantize",
            "path": "stages.2.quantize",
            "seconds": 6.2,
            "cached": False,
            "before": {"top1": 0.9312},
            "after": {"top1": 0.9292},
            "notes": ["ranges from 128 training clips"],
        },
    ]


def realistic_report() -> Report:
    return {
        "schema_version": 2,
        "recipe": {"name": "mobilenet3d_int8", "seed": 0, "stages": [{"distill": {"epochs": 12}}]},
        "environment": {
            "pocketreel": "0.1.0",
            "system": "Linux 6.1, x86_64",
            "cpu": "Xeon, 2 cores",
            "packages": {"torch": "2.13.0", "onnxruntime": "1.31.1"},
            "load_1min": None,
        },
        "data": {
            "source": "synthetic",
            "train": 960,
            "validation": 240,
            "test": 480,
            "classes": {"class": ["left", "right", "up", "down"]},
        },
        "models": {
            "teacher": {
                "top1": 0.9812,
                "ci95": (0.965, 0.99),
                "parameters": 1_240_000,
                "macs": 412_000_000,
                "network": "multimodal",
                "inputs": ["clip", "audio", "text"],
            },
            "student_labels_only": {
                "top1": 0.8896,
                "ci95": (0.858, 0.914),
                "parameters": 291_000,
                "macs": 61_300_000,
            },
            "student_float": {
                "top1": 0.9312,
                "ci95": (0.905, 0.951),
                "parameters": 148_000,
                "macs": 33_400_000,
                "network": "mobilenet3d",
                "inputs": ["clip"],
            },
            "student_quantized": {
                "top1": 0.9292,
                "ci95": (0.903, 0.949),
                "parameters": 148_000,
                "macs": 33_400_000,
            },
        },
        "stages": _stages(),
        "files": [
            artifact("onnx", ".onnx", top1=0.9292, p50_ms=1.84),
            artifact("tflite", ".tflite", top1=0.9271, p50_ms=2.31),
            artifact("executorch", ".pte", top1=0.9292, p50_ms=1.42),
            artifact("coreml", ".mlpackage", top1=None, p50_ms=None),
        ],
        "robustness": {
            "clips": 200,
            "corruptions": ["noise", "missing_sound"],
            "severities": [1, 3],
            "rows": [
                {
                    "name": "teacher",
                    "label": "class",
                    "clean": 0.98,
                    "corrupted": {"noise": [0.95, 0.71], "missing_sound": [0.97, 0.9]},
                    "mean": 0.8825,
                    "unaffected": [],
                },
                {
                    "name": "onnx",
                    "label": "class",
                    "clean": 0.93,
                    "corrupted": {"noise": [0.9, 0.55], "missing_sound": [0.93, 0.93]},
                    "mean": 0.8275,
                    "unaffected": ["missing_sound"],
                },
                {"name": "coreml", "label": "class", "clean": None, "mean": None, "reason": ON_A_MAC},
            ],
        },
        "gates": [],
        "skipped": [],
        "notes": [],
    }
