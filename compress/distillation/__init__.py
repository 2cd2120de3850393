"""The table of distillation losses. A new one is a file here and one line."""

from __future__ import annotations

from compress.distillation.attention import Attention
from compress.distillation.dist import Dist
from compress.distillation.dkd import DecoupledKD
from compress.distillation.features import Features
from compress.distillation.kd import KD
from compress.distillation.loss import FeatureLoss, LogitLoss
from compress.distillation.relation import Relation
from compress.distillation.similarity import Similarity

LOSSES: dict[str, type[LogitLoss] | type[FeatureLoss]] = {
    "kd": KD,
    "dkd": DecoupledKD,
    "dist": Dist,
    "features": Features,
    "relation": Relation,
    "similarity": Similarity,
    "attention": Attention,
}
