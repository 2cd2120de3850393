"""Reading recipes: all faults are reported; overrides, the resolved recipe, the plan."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from compress.distillation.config import DistillationConfig
from compress.recipe import Recipe, RecipeError, dump_yaml, load_recipe, parse_recipe
from compress.recipe.augmentations import refuse_flips, trainings_of
from compress.recipe.keys import check_words
from compress.recipe.plan import plan
from compress.recipe.renamed import RENAMED
from compress.recipe.sections import DATA_ROWS, STAGE_ROWS, STUDENT_ROWS, TEACHER_ROWS
from compress.recipe.source import parse_source
from compress.stages import STAGES
from models.spec import LabelSpec
from tests.specs import small_spec

ROOT = Path(__file__).resolve().parents[2]
GOOD = """
seed: 1
data: {source: synthetic}
clip: {frames: 8, size: 64, audio: {}}
teacher: {network: multimodal_tiny, train: {epochs: 1}}
student: {network: mobilenet3d_tiny, options: {width: 0.5}}
stages:
  - distill: {epochs: 2, baseline: true}
  - prune: {macs: 0.6}
  - quantize: {}
export: {formats: [onnx, coreml]}
gates:
  - {metric: files.onnx.fp32.top1_drop_pp, max: 1}
"""

BROKEN = {
    "unknown section": ("stagess: []", ["stagess (line N): unknown section", "did you mean 'stages'?"]),
    "missing section": ("-student", ["student: required section is missing"]),
    "unknown key": (
        "clip: {frame: 8, audio: {}}",
        ["clip.frame (line N): unknown key; did you mean 'frames'? allowed: frames, size"],
    ),
    "unknown key deep inside": (
        "clip: {audio: {mel: 40}}",
        ["clip.audio.mel (line N): unknown key; did you mean 'mels'? allowed: sample_rate_hz"],
    ),
    "unknown key of a stage": (
        "stages: [{distill: {epoch: 2}}]",
        ["stages.0.distill.epoch (line N): unknown key", "did you mean 'epochs'?"],
    ),
    "unknown option of a network": (
        "student: {network: mobilenet3d_tiny, options: {widht: 1.0}}",
        ["student.options.widht (line N): unknown key; did you mean 'width'? allowed: width, depth, dropout"],
    ),
    "missing key": (
        "stages: [{distill: {}}]",
        ["stages.0.distill.epochs (line N): required key is missing (Passes over"],
    ),
    "no target of pruning": (
        "stages: [{distill: {epochs: 1}}, {prune: {}}]",
        ["stages.1.prune (line N): 0 targets are given; give exactly one of macs, parameters, latency"],
    ),
    "text for a whole number": (
        "clip: {frames: '8', audio: {}}",
        ["clip.frames (line N): wrong type; given: '8'; allowed: a whole number"],
    ),
    "fraction for a whole number": (
        "clip: {frames: 8.5, audio: {}}",
        ["clip.frames (line N): wrong type; given: 8.5; allowed: a whole number"],
    ),
    "text for a boolean": (
        "stages: [{distill: {epochs: 1, baseline: 'yes'}}]",
        ["stages.0.distill.baseline (line N): wrong type; given: 'yes'; allowed: true or false"],
    ),
    "boolean for a number": (
        "student: {network: mobilenet3d_tiny, options: {width: true}}",
        ["student.options.width (line N): wrong type; given: true; allowed: a number"],
    ),
    "value out of range": (
        "distillation: {losses: {kd: {temperature: 0}}}",
        ["distillation.losses.kd.temperature (line N): out of range; given: 0; allowed: at least 0.01"],
    ),
    "sgd without its settings": (
        "stages: [{distill: {epochs: 1, optimizer: sgd}}]",
        ["stages.0.distill", "sgd needs learning_rate and weight_decay, whose defaults are for adamw"],
    ),
    "patience without a selection": (
        "stages: [{distill: {epochs: 1, patience: 2}}]",
        [
            "stages.0.distill",
            "patience 2 stops some epochs after the best one, whose weights need select: best",
        ],
    ),
    "average of quantized weights": (
        "stages: [{distill: {epochs: 1}}, {quantize: {method: qat, ema: 0.99}}]",
        ["stages.1.quantize", "ema is 0.99, but quantized weights belong to their ranges"],
    ),
    "augmentation that there is not": (
        "stages: [{distill: {epochs: 1, augmentation: {mixap: 0.2}}}]",
        ["stages.0.distill.augmentation.mixap (line N): unknown key; did you mean 'mixup'?"],
    ),
    "augmentation without views": (
        "stages: [{distill: {epochs: 1, views: 0, augmentation: {mixup: 0.2}}}]",
        ["stages.0.distill", "augmentation has settings, but views is 0, which trains on the centre crop"],
    ),
    "scale from large to small": (
        "stages: [{distill: {epochs: 1, augmentation: {random_resized_crop: {scale: [1.0, 0.2]}}}}]",
        ["stages.0.distill.augmentation.random_resized_crop", "scale is [1.0, 0.2]; give [least, most]"],
    ),
    "mirrored clips of classes with a side": (
        "stages: [{distill: {epochs: 1, augmentation: {horizontal_flip: true}}}]",
        [
            "stages.0.distill.augmentation.horizontal_flip (line N): mirrors clips, but classes of label have a "
            "side: move_left, move_right, orbit_clockwise, orbit_counterclockwise; remove it, or give force",
        ],
    ),
    "captions that are mixed": (
        "clip: {audio: {}, text: {}}\n"
        "teacher: {network: multimodal_tiny, train: {epochs: 1, augmentation: {mixup: 1.0}}}",
        ["teacher.train.augmentation.mixup (line N): mixes clips, but the teacher takes text"],
    ),
    "captions of a teacher that gets what the student gets": (
        "clip: {audio: {}, text: {}}\nstages: [{distill: {epochs: 1, views: fresh, augmentation: {mixup: 1.0}}}]",
        [
            "stages.0.distill.augmentation.mixup (line N): mixes clips, but the teacher takes text, which cannot "
            "be mixed; omit it, or give a number of views, whose outputs are cached",
        ],
    ),
    "rectangles of a video that is not an input": (
        "teacher: {network: multimodal_tiny, inputs: [audio], train: {epochs: 1, augmentation: {cutmix: 1.0}}}",
        [
            "teacher.train.augmentation.cutmix (line N): replaces a rectangle of the video, but the teacher takes "
            "none; use mixup"
        ],
    ),
    "masks of audio that there is not": (
        "clip: {}\nstages: [{distill: {epochs: 1, augmentation: {audio: {time_masks: 1}}}}]",
        ["stages.0.distill.augmentation.audio.time_masks (line N): masks audio, but the clips have none"],
    ),
    "loss that there is not": (
        "distillation: {losses: {relations: 1.0}}",
        ["distillation.losses.relations (line N): unknown key; did you mean 'relation'?"],
    ),
    "no loss at all": (
        "distillation: {losses: {}}",
        ["distillation.losses (line N): no distillation loss is named; choose from kd, dkd, dist, features"],
    ),
    "negative weight of a loss": (
        "distillation: {losses: {kd: -1}}",
        ["distillation.losses.kd (line N): out of range; given: -1; allowed: at least 0"],
    ),
    "unknown key of a loss": (
        "distillation: {losses: {relation: {angel: 3}}}",
        [
            "distillation.losses.relation.angel (line N): unknown key; did you mean 'angle'? allowed: weight, stu"
        ],
    ),
    "unknown key of the second use of a loss": (
        "distillation: {losses: {features: [{}, {projecter: none}]}}",
        ["distillation.losses.features.1.projecter (line N): unknown key; did you mean 'projector'?"],
    ),
    "weight alone for a loss that needs layers": (
        "distillation: {losses: {attention: 1000}}",
        ["distillation.losses.attention (line N): wrong type; given: 1000; allowed: a mapping of keys"],
    ),
    "loss without its layers": (
        "distillation: {losses: {attention: {student: video.1}}}",
        [
            "distillation.losses.attention.teacher (line N): required key is missing (Module of the teacher, like"
        ],
    ),
    "layer that the student lacks": (
        "distillation: {losses: {features: [{}, {student: vidio.3}]}}",
        [
            "distillation.losses.features.1.student (line N): MobileNet3d has no module 'vidio.3'; its modules, nea"
        ],
    ),
    "layer that the teacher lacks": (
        "distillation: {losses: {relation: {teacher: encoder.clip}}}",
        ["distillation.losses.relation.teacher (line N): ", "nearest first: encoders.clip, "],
    ),
    "layers of different sizes without a projector": (
        "distillation: {losses: {features: {student: video.1, projector: none}}}",
        ["distillation.losses (line N): video.1 of the student has 8 channels", "give `projector: linear`"],
    ),
    "map for a loss that needs positions": (
        "distillation: {losses: {attention: {student: video.1, teacher: embedding}}}",
        ["distillation.losses (line N): video.1 of the student has shape", "name layers with maps"],
    ),
    "scalar for a section": ("clip: 8", ["clip (line N): wrong type; given: 8; allowed: a mapping of keys"]),
    "scalar for a chosen section": ("data: clips.csv", ["data (line N): wrong type; given: 'clips.csv'"]),
    "mapping for a list": (
        "stages: {distill: {epochs: 1}}",
        ["stages (line N): wrong type", "allowed: a list, such as [] for none"],
    ),
    "unknown source": (
        "data: {source: synthetc}",
        ["data.source (line N): unknown source; given: 'synthetc'", "did you mean 'synthetic'?"],
    ),
    "no source": ("data: {}", ["data.source (line N): required key is missing; allowed: synthetic"]),
    "unknown network": (
        "student: {network: mobilnet3d}",
        ["student.network (line N): unknown network", "did you mean 'mobilenet3d'?"],
    ),
    "unknown stage": (
        "stages: [{distil: {epochs: 1}}]",
        [
            "stages.0.distil (line N): unknown stage; did you mean 'distill'? allowed: distill, prune, quantize"
        ],
    ),
    "two verbs in one entry": (
        "stages: [{distill: {epochs: 1}, prune: {macs: 0.5}}]",
        ["stages.0 (line N): not a stage", "one verb with its settings"],
    ),
    "bare verb": ("stages: [quantize]", ["stages.0 (line N): not a stage; given: 'quantize'"]),
    "stage after quantize": (
        "stages: [{distill: {epochs: 1}}, {quantize: {}}, {prune: {macs: 0.5}}, {quantize: {}}]",
        [
            "stages.2.prune (line N): takes a float network, but stages.1.quantize outputs a quantized one",
            "stages.3.quantize.scheme (line N): stages.1.quantize outputs w8a8 already; a run has one network per",
        ],
    ),
    "scheme that no runtime has": (
        "stages: [{distill: {epochs: 1}}, {quantize: {scheme: w8a16}}]",
        ["stages.1.quantize.scheme (line N): not one of the choices: ONNX Runtime, ExecuTorch and"],
    ),
    "stream in the scheme of another tool": (
        "student: {network: movinet_a0, stream: true}\nexport: {formats: [onnx], schemes: [w8a8_nncf]}\ngates: []",
        [
            "export.schemes.0 (line N): w8a8_nncf files have no step program, and the student streams; use w8a8"
        ],
    ),
    "stream with rounded weights": (
        "student: {network: movinet_a0, stream: true}\n"
        "stages: [{distill: {epochs: 1}}, {quantize: {scheme: w4, method: adaround}}]\n"
        "export: {formats: [onnx]}\ngates: []",
        ["stages.1.quantize.scheme (line N): rounds the weights of whole clips alone; leave out this stage"],
    ),
    "two networks of one scheme": (
        "stages: [{distill: {epochs: 1}}, {quantize: {}}, {quantize: {method: adaround}}]",
        [
            "stages.2.quantize.scheme (line N): stages.1.quantize outputs w8a8 already; a run has one network per"
        ],
    ),
    "prune before training": (
        "stages: [{prune: {macs: 0.5}}]",
        ["stages.0.prune (line N): the student is not trained yet; add a distill stage before"],
    ),
    "distill without teacher": (
        "teacher: null",
        ["stages.0.distill (line N): needs a teacher, but the recipe has no section teacher"],
    ),
    "unknown scheme": (
        "stages: [{distill: {epochs: 1}}, {quantize: {scheme: w8a9}}]",
        ["stages.1.quantize.scheme (line N): not one of the choices; given: 'w8a9'", "did you mean 'w8a8'?"],
    ),
    "unknown format": (
        "export: {formats: [tfl]}",
        ["export.formats.0 (line N): not one of the choices; given: 'tfl'", "did you mean 'tflite'?"],
    ),
    "format twice": (
        "export: {formats: [onnx, coreml, onnx]}",
        ["export.formats.2 (line N): format given twice; given: onnx"],
    ),
    "input that the clips lack": (
        "student: {network: mobilenet3d_tiny, inputs: [clip, text]}",
        [
            "student.inputs.1 (line N): the clips have no text; add the key text to the section clip; given: text"
        ],
    ),
    "a student that cannot stream": (
        "student: {network: mobilenet3d_tiny, stream: true}",
        [
            "student.stream (line N): mobilenet3d_tiny needs whole clips and cannot stream; choose a causal",
            "allowed: movinet_a0, movinet_a1, movinet_a2, movinet_tiny, ",
        ],
    ),
    "input that the network does not take": (
        "clip: {text: {}}\nstudent: {network: mobilenet3d_tiny, inputs: [clip, text]}",
        ["student.inputs.1 (line N): mobilenet3d_tiny does not take it; given: text; allowed: clip, audio"],
    ),
    "unknown input": (
        "student: {network: mobilenet3d_tiny, inputs: [video]}",
        ["student.inputs.0 (line N): not one of the choices; given: 'video'; allowed: clip, audio, text"],
    ),
    "no input": (
        "student: {network: mobilenet3d_tiny, inputs: []}",
        ["student.inputs (line N): wrong number of entries; given: []; allowed: at least 1"],
    ),
    "missing manifest": (
        "data: {source: manifest, manifest: no/such.csv, labels: [word]}",
        ["data.manifest (line N): no such file or folder: /", "no/such.csv; given: no/such.csv"],
    ),
    "missing folder": (
        "data: {source: folder, root: no/such}",
        ["data.root (line N): no such file or folder: /"],
    ),
    "missing weights": (
        "teacher: {factory: 'models:Network', weights: none.safetensors}",
        ["teacher.weights (line N): no such file or folder: /"],
    ),
    "factory of no module": (
        "teacher: {factory: 'no_such_module:build', weights: pyproject.toml}",
        ["teacher.factory (line N): cannot import 'no_such_module'"],
    ),
    "factory of no function": (
        "teacher: {factory: 'models:no_such', weights: pyproject.toml}",
        ["teacher.factory (line N): 'models' has no 'no_such'"],
    ),
    "malformed factory": (
        "teacher: {factory: models.build, weights: pyproject.toml}",
        ["teacher.factory (line N): not well formed; given: 'models.build'"],
    ),
    "network and factory": (
        "teacher: {network: multimodal, factory: 'models:Network', weights: x}",
        ["teacher (line N): the network has more than one origin; keep one of these keys"],
    ),
    "gate on an unknown figure": (
        "gates: [{metric: files.onnx.fp32.top1_dorp_pp, max: 1}]",
        [
            "gates.0.metric (line N): the report will have no such figure",
            "allowed: files.onnx.fp32.{top1, top1_drop_pp",
            "did you mean 'files.onnx.fp32.top1_drop_pp'?",
        ],
    ),
    "gate on a format that is not exported": (
        "gates: [{metric: files.tflite.fp32.top1, min: 0.9}]",
        ["gates.0.metric (line N): the report will have no such figure", "files.{*, onnx, coreml}"],
    ),
    "gate by the names of schema 1": (
        "gates: [{metric: artifacts.*.top1_drop_pp, max: 1}, {metric: artifacts.onnx.p50_ms, max: 1}]",
        [
            "gates.0.metric (line N): figures of files need format and scheme, time and memory also the device",
            "did you mean 'files.*.w8a8.top1_drop_pp'?",
            "did you mean 'files.onnx.w8a8.host.p50_ms'?",
        ],
    ),
    "int8 files without a quantized network": (
        "stages: [{distill: {epochs: 1}}]\nexport: {formats: [onnx], schemes: [fp32, w8a8, w8a8]}",
        [
            "export.schemes.1 (line N): no stage outputs a w8a8 network; add the stage quantize",
            "export.schemes.2 (line N): scheme given twice",
        ],
    ),
    "int8 files of a network that is pruned for them": (
        "stages: [{distill: {epochs: 1}}, {prune: {latency: 0.5, scheme: w8a8}}]\n"
        "export: {formats: [onnx], schemes: [fp32, w8a8]}",
        ["export.schemes.1 (line N): no stage outputs a w8a8 network; add the stage quantize"],
    ),
    "a scheme that no format takes": (
        "export: {formats: [executorch], schemes: [fp16]}",
        [
            "export.formats.0 (line N): executorch files do not support fp16",
            "export.schemes.0 (line N): no format of the recipe supports fp16",
        ],
    ),
    "gate on a model that is not made": (
        "stages: [{distill: {epochs: 1}}]\ngates: [{metric: models.student_quantized.top1, min: 0.9}]",
        ["gates.0.metric (line N): the report will have no such figure"],
    ),
    "gate on a stage that is not there": (
        "gates: [{metric: stages.3.after.macs, max: 1}]",
        ["gates.0.metric (line N): the report will have no such figure"],
    ),
    "unknown part of a teacher": (
        "teacher: {network: modular, train: {epochs: 1}, options: {video: {name: c3d_tny}}}",
        ["teacher.options.video.name (line N): not one of the choices; given: 'c3d_tny'", "'c3d_tiny'?"],
    ),
    "part of a teacher without its name": (
        "teacher: {network: modular, train: {epochs: 1}, options: {fusion: {features: 8}}}",
        [
            "teacher.options.fusion.name (line N): required key is missing; allowed: concatenation, weighted_sum"
        ],
    ),
    "unknown option of a part": (
        "teacher: {network: modular, train: {epochs: 1}, options: {video: {name: slowfast_tiny, alpa: 2}}}",
        [
            "options.video.alpa (line N): unknown key; did you mean 'alpha'? allowed: width, dropout, alpha, name"
        ],
    ),
    "impossible size of a part": (
        "teacher: {network: modular, train: {epochs: 1}, options: {text: {name: transformer, heads: 3}}}",
        ["teacher.options.text (line N): features is 128, heads 3, blocks 2: give 1 or more of each"],
    ),
    "unknown task": (
        "teacher: {network: modular, train: {epochs: 1}, tasks: {label: 1, lable: 2}}",
        ["teacher.tasks.lable (line N): the data has no column for this task", "did you mean 'label'?"],
    ),
    "a task without weight": (
        "teacher: {network: modular, train: {epochs: 1}, tasks: {label: 0}}",
        ["teacher.tasks.label (line N): out of range; given: 0; allowed: at least 1e-06"],
    ),
    "retrieval without captions": (
        "teacher: {network: modular, train: {epochs: 1}, tasks: {label: 1, retrieval: 1}}",
        [
            "teacher.tasks.retrieval (line N): compares captions with video",
            "given: inputs clip, audio",
        ],
    ),
    "a teacher of what no student learns": (
        "data: {source: synthetic, labels: [label, thing]}\nteacher: {network: modular, train: {epochs: 1}, "
        "tasks: {thing: 1}}\nstudent: {network: mobilenet3d_tiny, labels: [label]}",
        ["teacher.tasks (line N): the teacher shares no label column with the student; given: thing"],
    ),
    "a label column that is not there": (
        "student: {network: mobilenet3d_tiny, labels: [lable, lable]}",
        [
            "student.labels.0 (line N): the data has no such label column; given: lable; did you mean 'label'?",
            "student.labels.1 (line N): label column given twice; given: lable",
        ],
    ),
    "gate on a column that the student does not learn": (
        "data: {source: synthetic, labels: [label, thing]}\nstudent: {network: mobilenet3d_tiny, labels: [thing]}\n"
        "gates: [{metric: files.onnx.fp32.top1.label, min: 0.5}, {metric: models.teacher.top1.label, min: 0.5}]",
        ["gates.0.metric (line N): the report will have no such figure; given: files.onnx.fp32.top1.label"],
    ),
    "configuration of an encoder that is not there": (
        "teacher: {network: modular, train: {epochs: 1}, "
        "options: {video: {name: huggingface, config: no/such.json}}}",
        ["teacher.options.video.config (line N): no such file or folder"],
    ),
    "fewer calibration clips than a batch of training": (
        "stages: [{distill: {epochs: 1}}, {quantize: {method: qat, calibration_clips: 8}}]",
        ["stages.1.quantize", "calibration_clips is 8, less than one batch of 32 clips"],
    ),
    "a layer in float that is not there": (
        "stages: [{distill: {epochs: 1}}, {quantize: {float_layers: [heads, video.0.O]}}]",
        [
            "stages.1.quantize.float_layers.1 (line N): no layer is named 'video.0.O'; the nearest of",
            "video.0.0",
        ],
    ),
    "two bounds for layers in float": (
        "stages: [{distill: {epochs: 1}}, {quantize: {max_drop_pp: 1, max_size_bytes: 9}}]",
        ["stages.1.quantize (line N): max_drop_pp and max_size_bytes each decide which layers stay in float"],
    ),
    "a drop that is no number of points": (
        "stages: [{distill: {epochs: 1}}, {quantize: {max_drop_pp: -1}}]",
        ["stages.1.quantize.max_drop_pp (line N): out of range; given: -1; allowed: at least 0"],
    ),
    "an unknown key of the sensitivity": (
        "stages: [{distill: {epochs: 1}}, {quantize: {sensitivity: {clip: 3}}}]",
        ["stages.1.quantize.sensitivity.clip (line N): unknown key; did you mean 'clips'?"],
    ),
    "public weights for another teacher": (
        "teacher: {network: multimodal, train: {epochs: 1}, pretrained: pyproject.toml}",
        ["teacher.pretrained (line N): multimodal has no video encoder with public weights; use"],
    ),
    "gate with two limits": (
        "gates: [{metric: files.onnx.fp32.top1, min: 0.5, max: 1}]",
        ["gates.0 (line N): a gate has exactly one limit: min or max"],
    ),
    "gate without limit": (
        "gates: [{metric: files.onnx.fp32.top1}]",
        ["gates.0 (line N): a gate has exactly one limit: min or max"],
    ),
    "key twice": ("seed: 2\nseed: 3", ["seed (line N): key given twice, first in line"]),
    "key that is no text": ("1: 2", ["the recipe (line N): a key must be text; put it in quotes; given: 1"]),
    "broken YAML": (
        "gates: [1, 2",
        ["(line N): not valid YAML: did not find expected ',' or ']'", "at column"],
    ),
    "a tag that would run code": (
        "seed: !!python/name:os.system",
        ["seed (line N): the tag", "is not allowed"],
    ),
    "a number beyond floating point": ("seed: 1e999", ["seed (line N): too large a number; given: 1e999"]),
    "a whole number beyond 64 bits": (
        f"seed: {2**63}",
        [
            "seed (line N): too large a number; the largest whole number is 9223372036854775807; "
            "given: 9223372036854775808"
        ],
    ),
    "a number of many digits": (
        f"stages: [{{distill: {{epochs: 1, learning_rate: {'9' * 400}}}}}]",
        ["stages.0.distill.learning_rate (line N): too large a number", "given: 9999"],
    ),
    "a number of more digits than Python converts": (
        f"seed: {'9' * 9_000}",
        ["seed (line N): too large a number"],
    ),
    "infinity": (
        "clip: {std: [.inf, 1, 1]}",
        ["clip.std.0 (line N): wrong type; given: '.inf'; allowed: a num"],
    ),
    "a deviation close to zero": (
        "clip: {audio: {std: 1e-300}}",
        ["clip.audio.std (line N): out of range; given: 1e-300; allowed: at least 0.001"],
    ),
    "a deviation of a colour close to zero": (
        "clip: {std: [1e-300, 1, 1]}",
        ["clip.std.0 (line N): out of range; given: 1e-300; allowed: at least 0.001"],
    ),
    "a negative width": (
        "student: {network: mobilenet3d_tiny, options: {width: -3}}",
        ["student.options.width (line N): out of range; given: -3; allowed: at least 0.01"],
    ),
    "a width of nothing": (
        "student: {network: mobilenet3d_tiny, options: {width: 0}}",
        ["student.options.width (line N): out of range; given: 0; allowed: at least 0.01"],
    ),
    "a depth that never ends": (
        "student: {network: mobilenet3d_tiny, options: {depth: 1e308}}",
        ["student.options.depth (line N): out of range; given: 1e+308; allowed: at most 8"],
    ),
    "a truth for a severity": (
        "robustness: {severities: [true]}",
        ["robustness.severities.0 (line N): wrong type; given: true; allowed: a whole number"],
    ),
    "no colours": (
        "clip: {mean: [], std: [1, 2]}",
        [
            "clip.mean (line N): wrong number of entries; given: []; allowed: at least 3",
            "clip.std (line N): wrong number of entries; given: [1, 2]; allowed: at least 3",
        ],
    ),
    "a text of impossible length": (
        "clip: {text: {length: 1000000000000}}",
        ["clip.text.length (line N): out of range; given: 1000000000000; allowed: at most 4096"],
    ),
    "no formats": (
        "export: {formats: []}\ngates: []",
        ["export.formats (line N): wrong number of entries; given: []; allowed: at least 1"],
    ),
    "a name of 300 characters": (
        f"name: {'n' * 300}",
        ["name (line N): wrong length", "allowed: at most 100 characters"],
    ),
    "a mapping merged with a number": ("clip: {<<: 3}", ["clip (line N): << merges a mapping"]),
    "two documents": ("seed: 1\n---\nseed: 2", ["(line N): a second document starts (---)"]),
    "an alias of nothing": ("seed: *one", ["(line N): the alias *one has no anchor before it"]),
    "a control character": ('name: "a\\u0007"', ["name (line N): the character U+0007 is not allowed"]),
    "a NUL": ("name: a\0", ["(line N): the character U+0000 is not allowed in YAML"]),
    "binary data": (
        "name: !!binary aGk=",
        ["name (line N): the tag tag:yaml.org,2002:binary is not allowed"],
    ),
    "an octal number": ("seed: 0o17", ["seed (line N): wrong type; given: '0o17'; allowed: a whole number"]),
    "a sexagesimal number": ("seed: 1:30", ["seed (line N): wrong type; given: '1:30'"]),
    "a value inside itself": ("gates: &all [*all]", ["(line N): contains itself"]),
    "a name that is no folder": ("name: a/b", ["name (line N): not well formed; given: 'a/b'"]),
    "a negative seed": ("seed: -1", ["seed (line N): out of range; given: -1; allowed: at least 0"]),
}


def changed(recipe: str, change: str) -> str:
    """The recipe without the sections that `change` gives anew, and with those; `-name` removes one."""
    replaced = {line.split(":")[0] for line in change.splitlines()}
    kept, keep = [], True
    for line in recipe.splitlines():
        if line[:1].isalpha():
            keep = line.split(":")[0] not in replaced | {change.removeprefix("-")}
        kept += [line] if keep else []
    return "\n".join([*kept, "" if change.startswith("-") else change])


def faults(text: str, **more: list[str]) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, name="broken", **more)
    return str(caught.value)


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_recipe_names_its_fault(case: str) -> None:
    change, expected = BROKEN[case]
    message = re.sub(r"line \d+", "line N", faults(changed(GOOD, change)))
    for part in expected:
        assert part in message


def by_schema(text: str, folder: Path) -> list[str]:
    """What the schema alone finds in a recipe, which is complete where one of its words is unknown."""
    path = folder / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        check_words(path)
    _, *lines = str(caught.value).splitlines()
    assert lines[-1].startswith("Networks, user code and dependencies between sections are checked after")
    return lines[:-1]


@pytest.mark.parametrize("case", BROKEN)
def test_what_the_schema_alone_finds_is_told_in_the_words_of_the_full_check(
    case: str, tmp_path: Path
) -> None:
    """An unknown section is added, so that it tells all it finds; what it does not find, the full check does."""
    text = changed(GOOD, BROKEN[case][0])
    try:
        parse_source(text, name="broken")
    except RecipeError:
        pytest.skip("is no YAML of ours")
    text += "\nnonsense: 1\n"
    quick = by_schema(text, tmp_path)
    everything = faults(text).splitlines()
    assert set(quick) <= set(everything), set(quick) - set(everything)


FOUND_BY_SCHEMA = (
    *("missing section", "missing key", "text for a whole number", "fraction for a whole number"),
    *("text for a boolean", "boolean for a number", "value out of range", "scalar for a section"),
    *(
        "scalar for a chosen section",
        "mapping for a list",
        "no source",
        "two verbs in one entry",
        "bare verb",
    ),
    *("unknown scheme", "unknown format", "unknown input", "no input", "missing manifest", "missing folder"),
    *("missing weights", "malformed factory", "a task without weight", "infinity", "no colours"),
    *("a deviation of a colour close to zero", "a depth that never ends", "a truth for a severity"),
    *(
        "a text of impossible length",
        "a name of 300 characters",
        "a name that is no folder",
        "a negative seed",
    ),
)


@pytest.mark.parametrize("case", FOUND_BY_SCHEMA)
def test_faults_of_values_are_found_beside_an_unknown_word(case: str, tmp_path: Path) -> None:
    change, expected = BROKEN[case]
    found = by_schema(changed(GOOD, change) + "\nnonsense: 1\n", tmp_path)
    message = re.sub(r"line \d+", "line N", "\n".join(found))
    assert "nonsense (line N): unknown section" in message
    for part in expected:
        assert part in message


def test_all_faults_of_a_recipe_are_found_together() -> None:
    text = """
seed: one
data: {source: manifest, manifest: no.csv, label: [a]}
clip: {frames: 0}
student: {network: mobilenet3d, options: {width: wide}}
stages:
  - quantize: {method: ptqq}
  - distill: {epochs: 1}
export: {formats: [onnx, onnx]}
gates:
  - {metric: files.onnx.fp32.speed, max: 1}
"""
    with pytest.raises(RecipeError, match="broken: 11 faults") as caught:
        parse_recipe(text, name="broken")
    assert [fault.path for fault in caught.value.faults] == [
        "seed",
        "data.labels",
        "data.label",
        "clip.frames",
        "student.options.width",
        "stages.0.quantize.method",
        "stages.0.quantize",
        "stages.1.distill",
        "stages.1.distill",
        "export.formats.1",
        "gates.0.metric",
    ]
    assert [fault.line for fault in caught.value.faults] == [2, 3, 3, 4, 5, 7, 7, 8, 8, 9, 11]


def test_a_fault_carries_its_parts() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(changed(GOOD, "export: {formats: [coremll]}\ngates: []"), name="broken")
    (fault,) = caught.value.faults
    assert fault.path == "export.formats.0"
    assert fault.given == "'coremll'"
    assert fault.allowed == "onnx, tflite, executorch, coreml"
    assert fault.nearest == "coreml"


RENAMED_KEYS = {
    "distill: {epochs: 1, temperature: 3.0}": (
        "stages.0.distill.temperature (line 7): has moved to distillation.losses.kd.temperature, where it applies "
        "to all stages"
    ),
    "prune: {macs: 0.5, label_weight: 0.5}": "prune.label_weight (line 7): has moved to distillation.label",
    "quantize: {method: qat, temperature: 1.0}": "quantize.temperature (line 7): has moved to distillation.losses",
    "quantize: {mode: ptq}": "quantize.mode (line 7): was renamed to method, with the same meaning",
    "prune: {macs_ratio: 0.5}": (
        "stages.0.prune.macs_ratio (line 7): was renamed to macs, with the same meaning"
    ),
    "prune: {macs: 0.5, max_layer_ratio: 0.5}": (
        "stages.0.prune.max_layer_ratio (line 7): was renamed to max_pruning_ratio, with the same meaning"
    ),
}


@pytest.mark.parametrize("stage", RENAMED_KEYS)
def test_old_names_of_keys_are_refused_with_the_new_ones_in_both_checks(stage: str, tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(changed(GOOD, f"stages: [{{{stage}}}]").lstrip("\n"))
    text = path.read_text()
    line = next(k for k, row in enumerate(text.splitlines(), 1) if row.startswith("stages"))
    expected = RENAMED_KEYS[stage].replace("line 7", f"line {line}")
    for check in (check_words, load_recipe):
        with pytest.raises(ValueError, match=re.escape(expected)) as caught:
            check(path)
        assert "0 targets" not in str(caught.value), "a key under its old name is not missing, too"
        assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(("verb", "key"), [("prune", "latency"), ("quantize", "max_latency")])
def test_a_latency_of_a_runtime_that_is_not_installed_is_refused(monkeypatch, verb, key) -> None:
    monkeypatch.setattr("compress.recipe.stage_checks.installed", lambda names: "executorch" not in names)
    stages = f"stages: [{{distill: {{epochs: 1}}}}, {{{verb}: {{{key}: 0.5, runtime: %s}}}}]"
    expected = rf"stages\.1\.{verb}\.runtime.*: the runtime is not installed.*allowed: onnx, tflite$"
    with pytest.raises(RecipeError, match=expected):
        parse_recipe(changed(GOOD, stages % "executorch"), name="good")
    assert parse_recipe(changed(GOOD, stages % "onnx"), name="good")


RENAMED_LOSSES = {
    "distillation: {temperature: 3.0}": (
        "distillation.temperature (line 7): has moved to distillation.losses.kd.temperature, where it applies "
        "to all stages"
    ),
    "distillation: {losses: {soft_targets: 1.0}}": (
        "distillation.losses.soft_targets (line 7): was renamed to kd; its weight is no longer multiplied by "
        "1 - label_weight: with the default label_weight 0.1, the weight 1 is now 0.9"
    ),
}


@pytest.mark.parametrize("section", RENAMED_LOSSES)
def test_old_keys_of_distillation_are_refused_with_the_new_ones_in_both_checks(
    section: str, tmp_path: Path
) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(changed(GOOD, section).lstrip("\n"))
    line = next(k for k, row in enumerate(path.read_text().splitlines(), 1) if row.startswith("distillation"))
    expected = RENAMED_LOSSES[section].replace("line 7", f"line {line}")
    for check in (check_words, load_recipe):
        with pytest.raises(ValueError, match=re.escape(expected)):
            check(path)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("{kd: 9}", "{kd: {weight: 9}}"),
        ("{relation: 2}", "{relation: {weight: 2}}"),
        ("{}", None),
    ],
)
def test_a_number_stands_for_the_weight_of_a_loss(short: str, long: str | None) -> None:
    if long is None:
        assert parse_recipe(GOOD, name="good").distillation == DistillationConfig()
        return
    one, other = (
        parse_recipe(changed(GOOD, f"distillation: {{losses: {text}}}"), name="good")
        for text in (short, long)
    )
    assert one == other
    assert parse_recipe(dump_yaml(one.to_dict()), name="again").distillation == one.distillation


def test_a_loss_on_layers_is_used_several_times_and_beside_quantization_aware_training(
    tmp_path: Path,
) -> None:
    losses = "{kd: 0.9, features: [{}, {student: video.3, teacher: encoders.clip, weight: 2}]}"
    stages = "stages: [{distill: {epochs: 1}}, {quantize: {method: qat, batch: 8}}]"
    path = tmp_path / "several.yaml"
    path.write_text(changed(GOOD, f"distillation: {{losses: {losses}}}\n{stages}"))
    check_words(path)
    chosen = {name: (row, one.weight) for name, row, one in load_recipe(path).distillation.losses.chosen()}  # type: ignore[attr-defined]
    assert chosen == {"kd": ("kd", 0.9), "features": ("features", 1), "features_2": ("features", 2)}


def test_every_renamed_key_leads_to_one_that_recipes_have() -> None:
    schema = json.loads((ROOT / "recipes" / "recipe.schema.json").read_text())
    for old, new in RENAMED.items():
        for place, there in ((old, False), (new, True)):
            section, *keys = [part for part in place.split(".") if part != "*"]
            if section == "stages":
                verb, *keys = keys
                node = schema["$defs"][STAGES[verb].config.__name__]
            else:
                node = schema["$defs"][f"{section.title()}Config"]
            if keys[:1] == ["losses"]:
                node, keys = schema["$defs"]["Losses"], keys[1:]
            assert (keys[0] in node["properties"]) is there, place


def test_a_whole_number_stands_for_a_number_and_1e_3_is_one() -> None:
    recipe = parse_recipe(
        changed(
            GOOD,
            "distillation: {losses: {kd: {temperature: 3}}}\nstages: [{distill: {epochs: 1, learning_rate: 1e-3}}]",
        ),
        name="good",
    )
    assert recipe.distillation.losses.kd.temperature == 3.0  # type: ignore[attr-defined]
    assert recipe.stages[0].config.learning_rate == 0.001  # type: ignore[attr-defined]


def test_class_names_that_yaml_1_1_takes_for_booleans_stay_text(tmp_path: Path) -> None:
    manifest = tmp_path / "clips.csv"
    manifest.write_text("path,split,word\n")
    where = "where: {word: [no, on, yes, 2020-01-01]}"
    data = f"data: {{source: manifest, manifest: {manifest}, labels: [word], {where}}}"
    recipe = parse_recipe(changed(GOOD, data), name="good")
    assert recipe.data.where == {"word": ["no", "on", "yes", "2020-01-01"]}  # type: ignore[union-attr]
    assert parse_recipe(dump_yaml(recipe.to_dict()), name="again") == recipe


ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + k)}: &{chr(98 + k)} [{', '.join(['*' + chr(97 + k)] * 9)}]\n" for k in range(9)
)
TOO_MUCH = {
    "aliases of aliases": (ALIASES, r"line 5\): too many keys and values .* with aliases expanded; .* 20000"),
    "a long list": ("gates: [" + "1, " * 50_000 + "]", "too many keys and values for a recipe"),
    "a file of 10 MB": (
        "gates: [" + "1," * 5_000_000 + "1]",
        "too large .* 10000010 bytes; .* 1000000 bytes",
    ),
    "many documents": ("--- 1\n" * 100_000, r"a second document starts"),
    "lists in lists": ("gates: " + "[" * 100_000, "nested too deeply; allowed: at most 24"),
    "mappings in mappings": ("clip: " + "{a: " * 100_000, "nested too deeply; allowed: at most 24"),
    "aliases that nest": (
        "a: &a [[[[[[[[[[1]]]]]]]]]]\nb: &b [[[[[[[[[[*a]]]]]]]]]]\nc: [[[[[[*b]]]]]]",
        r"line 3\): nested too deeply",
    ),
    "a long text": (f"name: {'x' * 500_000}", "text of more than 10000 characters"),
    "a text repeated": (f"a: &a {'x' * 9_999}\nb: [{'*a, ' * 5_000}]", "too much text for a recipe"),
    "a long key": (f"? {'k' * 5_000}\n: 1", "a key is too long; .* at most 200 characters"),
    "many unknown keys": ("".join(f"k{n}: 1\n" for n in range(9_000)), "and 8952 more"),
    "many unknown keys inside": (
        "clip: {" + ", ".join(f"fram{n}: 1" for n in range(9_000)) + "}",
        "clip.*: 8960 more faults in this section",
    ),
    "many gates": (
        "gates: [" + ", ".join(["{metric: files.onnx.fp32.tpo1, max: 1}"] * 3_000) + "]",
        "gates .*: wrong number of entries; given: 3000 entries; allowed: at most 256",
    ),
    "many columns": (
        "data: {source: manifest, manifest: m.csv, labels: ["
        + ", ".join(f"c{n}" for n in range(9_000))
        + "]}",
        "data.labels .*: wrong number of entries; .* at most 32",
    ),
}


@contextmanager
def at_most_calls(allowed: int) -> Iterator[None]:
    """Fail as soon as the body has made more function calls: the same count on every machine."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls > allowed:
            sys.setprofile(None)
            pytest.fail(f"more than {allowed} function calls")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize("case", TOO_MUCH)
def test_the_work_of_reading_is_bounded_by_the_limits_and_not_by_what_a_text_stands_for(case: str) -> None:
    text, expected = TOO_MUCH[case]
    with at_most_calls(30_000_000):  # twice the largest; a comparison of all pairs takes more
        message = faults(text)
    assert re.search(expected, message)


def test_the_value_of_an_override_has_the_same_limits() -> None:
    bomb = ALIASES.replace("\n", ", ")
    overrides = [f"gates={{{bomb}}}", f"a{'.a' * 500}=1", f"seed={'9' * 5_000}", "stages.999999999999=1"]
    message = faults(GOOD, overrides=overrides)
    for part in (
        "the value is too many keys and values",
        "a key path has at most 24 parts",
        "the value is too large a number",
        "stages is a list with entries 0 to 2",
    ):
        assert part in message
    assert len(message) < 2_000


def test_merged_keys_go_below_those_of_the_mapping_itself() -> None:
    merged = "{<<: [{frames: 4, size: 40}, {frames: 2, stride: 2, sampling: strided}], size: 32, audio: {}}"
    recipe = parse_recipe(changed(GOOD, f"clip: {merged}"), name="good")
    assert (recipe.clip.frames, recipe.clip.size, recipe.clip.stride) == (4, 32, 2)


def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"a: 1\n" * 2_000_000)
    utf16 = tmp_path / "utf16.yaml"
    utf16.write_text(GOOD, encoding="utf-16")
    for path, expected in (
        (large, "too large for a recipe; given: 10000000 bytes"),
        (utf16, "not UTF-8 text"),
        (tmp_path, "a folder, not a recipe"),
        (tmp_path / ("n" * 300), "cannot be read: File name too long|no such file"),
        (tmp_path / "a\0b.yaml", "cannot be read|no such file"),
        (tmp_path / "larg.yaml", "did you mean 'large.yaml'"),
    ):
        with pytest.raises(RecipeError, match=expected):
            load_recipe(path)


def test_a_byte_order_mark_is_no_part_of_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "marked.yaml"
    path.write_text(GOOD, encoding="utf-8-sig")
    assert load_recipe(path).seed == 1


def test_the_name_is_by_default_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lips_v2.yaml"
    path.write_text(GOOD)
    assert load_recipe(path).name == "lips_v2"
    assert load_recipe(path, overrides=["name=other"]).name == "other"


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "there.yaml").write_text(GOOD)
    with pytest.raises(RecipeError, match=r"no such file; .* has there\.yaml"):
        load_recipe(tmp_path / "their.yaml")


@pytest.mark.parametrize("text", ["", "- a", "just text"])
def test_a_recipe_is_a_mapping(text: str) -> None:
    assert "a recipe is a mapping of sections" in faults(text)


def test_clips_of_files_are_not_mirrored_either_as_soon_as_their_classes_are_known() -> None:
    flips = "{epochs: 1, augmentation: {horizontal_flip: true}}"
    source = "{source: manifest, manifest: README.md, labels: [label]}"
    text = changed(changed(GOOD, f"data: {source}"), f"stages: [{{distill: {flips}}}]")
    recipe = parse_recipe(text, name="good")
    trainings = trainings_of(recipe.teacher, recipe.stages)
    refuse_flips(trainings, small_spec("clip"))
    spec = replace(small_spec("clip"), labels=(LabelSpec(name="label", classes=("TurnLeft", "stop")),))
    with pytest.raises(
        ValueError, match=r"horizontal_flip mirrors clips, but classes of label have a side: TurnLeft"
    ):
        refuse_flips(trainings, spec)
    forced = parse_recipe(text.replace("true", "force"), name="good")
    refuse_flips(trainings_of(forced.teacher, forced.stages), spec)


def test_overrides_set_values_and_make_mappings() -> None:
    recipe = parse_recipe(
        GOOD,
        name="good",
        overrides=[
            "stages.0.distill.epochs=7",
            "teacher.options.width=0.5",
            "export.formats=[onnx]",
            "clip.audio={mels: 20}",
            "clip.text.length=8",
            "seed=5",
        ],
    )
    assert recipe.stages[0].config.epochs == 7  # type: ignore[attr-defined]
    assert recipe.teacher.options.width == 0.5  # type: ignore[union-attr]
    assert recipe.export.formats == ("onnx",)
    assert recipe.clip.audio.mels == 20  # type: ignore[union-attr]
    assert recipe.clip.text.length == 8  # type: ignore[union-attr]
    assert recipe.seed == 5


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("stages.3.distill.epochs=1", "stages is a list with entries 0 to 2; given: 3"),
        ("stages.first.distill.epochs=1", "stages is a list with entries 0 to 2; given: first"),
        ("seed.x=1", "seed is the value 1, so it has no 'x'"),
        ("seed", "a setting has the form key.path=value"),
        ("=1", "a setting has the form key.path=value"),
        ("a..b=1", "a setting has the form key.path=value"),
        ("seed=[1", "the value is not valid YAML"),
        ("stages.0.distill.epoch=1", "stages.0.distill.epoch: unknown key"),
        ("sed=1", "sed: unknown section"),
        ("stages.0.prune.macs=0.5", "stages.0 (line 8): not a stage"),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(override: str, expected: str) -> None:
    assert expected in faults(GOOD, overrides=[override])


def test_all_bad_overrides_are_named_together() -> None:
    assert "2 faults" in faults(GOOD, overrides=["x", "stages.9.prune=1"])


def test_the_resolved_recipe_loads_as_an_equal_one(tmp_path: Path) -> None:
    recipe = parse_recipe(GOOD, name="good", overrides=["stages.1.prune.macs=0.7"])
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_yaml(recipe.to_dict()))
    assert load_recipe(path) == recipe
    assert "macs: 0.7" in path.read_text()
    assert "round_to:" in path.read_text()


def test_a_recipe_cannot_be_changed() -> None:
    recipe = parse_recipe(GOOD, name="good")
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 2  # type: ignore[misc]


def test_repeated_values_may_be_aliased_and_are_overridden_one_by_one() -> None:
    text = changed(GOOD, "stages: [{distill: &settings {epochs: 2}}, {distill: *settings}]")
    recipe = parse_recipe(text, name="good", overrides=["stages.1.distill.epochs=3"])
    assert [stage.config.epochs for stage in recipe.stages] == [2, 3]  # type: ignore[attr-defined]


def test_the_plan_says_how_a_stage_that_trains_is_taught() -> None:
    text = changed(GOOD, "distillation: {label_weight: 0.25, losses: {kd: {temperature: 3}}}")
    said = {step.name: step.description for step in plan(parse_recipe(text, name="good")).steps}
    assert said["distill"] == "epochs 2, baseline yes; label weight 0.25, losses (kd (temperature 3))"
    assert said["quantize"] == "with its defaults", "ptq does not train"


def test_the_plan_names_public_weights_and_how_several_teachers_teach(tmp_path: Path) -> None:
    weights = tmp_path / "mobilenet_v2.pth"
    weights.write_bytes(b"")
    teachers = (
        "[{network: multimodal_tiny, train: {epochs: 1}}, {network: multimodal_tiny, train: {epochs: 2}}]"
    )
    text = changed(GOOD, f"student: {{network: tsm, inputs: [clip], pretrained: {weights}}}")
    text = changed(changed(changed(text, f"teachers: {teachers}"), "-teacher"), "gates: []")
    text = changed(text, "distillation: {label_weight: 0.25}")
    said = {step.name: step.description for step in plan(parse_recipe(text, name="good")).steps}
    assert said["student"].endswith(f"; starts with the public weights {weights}")
    assert said["distill"].endswith("; label weight 0.25")


def test_the_plan_says_what_differs_from_the_usual_augmentation() -> None:
    augmentation = "{mixup: 0.2, random_resized_crop: {}, color: {saturation: 0.5}}"
    text = changed(GOOD, f"stages: [{{distill: {{epochs: 2, views: fresh, augmentation: {augmentation}}}}}]")
    said = {step.name: step.description for step in plan(parse_recipe(text, name="good")).steps}
    assert said["distill"].startswith(
        "epochs 2, views fresh, augmentation (random resized crop (with its defaults), color (saturation 0.5), "
        "mixup 0.2)"
    )


def test_the_plan_lists_every_step_in_order() -> None:
    recipe = parse_recipe(GOOD, name="good")
    steps = plan(recipe).steps
    names = ["clips", "teacher", "student", "distill", "prune", "quantize", "export", "benchmark", "report"]
    assert [step.name for step in steps] == names
    console = Console(width=100)
    with console.capture() as printed:
        console.print(plan(recipe))
    assert "epochs 2, baseline yes" in printed.get()


def test_the_scheme_of_a_pruning_target_is_not_that_of_a_network() -> None:
    stages = "{distill: {epochs: 1}}, {prune: {macs: 0.75}}, {prune: {latency: 0.75, scheme: w8a8}}"
    for more, schemes in (("", ("fp32",)), (", {quantize: {}}", ("fp32", "w8a8"))):
        text = changed(GOOD, f"stages: [{stages}{more}]\nexport: {{formats: [onnx]}}\ngates: []")
        recipe = parse_recipe(text, name="good")
        assert recipe.schemes == schemes
        assert (
            f"onnx in {schemes[-1]}" in {step.name: step.description for step in plan(recipe).steps}["export"]
        )


def test_a_recipe_without_stages_has_a_short_plan() -> None:
    text = "data: {source: synthetic}\nstudent: {network: mobilenet3d_tiny}\nexport: {formats: [onnx]}"
    assert [step.name for step in plan(parse_recipe(text, name="bare")).steps] == [
        "clips",
        "student",
        "export",
        "benchmark",
        "report",
    ]


def test_every_settings_model_refuses_unknown_keys() -> None:
    for rows in (DATA_ROWS, STUDENT_ROWS, TEACHER_ROWS, STAGE_ROWS):
        for name, row in rows.items():
            assert row.model_config.get("extra") == "forbid", name  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_project_is_planned(path: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,split,word,slot,start_s,end_s\n")
    needs_data = "source: manifest" in path.read_text()
    recipe = load_recipe(path, overrides=[f"data.manifest={manifest}"] if needs_data else [])
    assert isinstance(recipe, Recipe)
    assert plan(recipe).steps


FITTING = {
    "frames too small for a student": (
        "clip: {frames: 8, size: 8}\nstudent: {network: mobilenet3d}",
        [
            "student.network (line N): cannot be built for these clips: frames of 8 x 8 are too small",
            "at least 32",
        ],
    ),
    "a width that is not published": (
        "student: {network: shufflenet3d, options: {width: 0.7}}",
        [
            "student.network (line N): cannot be built for these clips: this ShuffleNet3D has no width 0.7: use"
        ],
    ),
    "a kernel of even length": (
        "student: {network: mobilenet3d_v3_tiny, options: {kernel_frames: 4}}",
        ["student.network (line N): cannot be built for these clips: kernel_frames is 4: use an odd number"],
    ),
    "more weights than memory": (
        "clip: {frames: 1024, size: 1024, audio: {}}\nstudent: {network: c3d}",
        ["student.network (line N): its weights, gradients and moments take 2,199.7 GB; given: c3d; allowed"],
    ),
    "batches beyond memory": (
        "clip: {frames: 1024, size: 1024, audio: {}}\nstudent: {network: mobilenet3d_tiny}",
        [
            "stages.0.distill.batch (line N): a step takes about",
            "GB; lower batch, or use smaller clips; given: 32",
        ],
    ),
    "a sound too small for a teacher": (
        "clip: {audio: {mels: 1, bins: 1}}",
        ["teacher.network (line N): cannot be built for these clips: a log-mel of 1 x 1 is too small"],
    ),
}


@pytest.mark.parametrize("case", FITTING)
def test_networks_that_do_not_fit_are_refused_before_anything_is_done(case: str) -> None:
    change, expected = FITTING[case]
    message = re.sub(r"line \d+", "line N", faults(changed(GOOD, change)))
    for part in expected:
        assert part in message
