"""The outputs of a teacher on exactly what the student gets, computed in every step (`views: fresh`).

Source: Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and consistent": both get the same
crop, and the same mixture of clips.
"""

from __future__ import annotations

import torch

from benchmarks.clips.clip_set import ClipSet
from benchmarks.clips.mixing import mixed
from compress.criterion import Batch, Outputs
from compress.features import watched
from compress.teacher import Teacher
from compress.training.batches import placed
from models.spec import as_tuple


class OnlineTeacher:
    """Runs a teacher on the clips of a batch under their augmentation, without corruptions."""

    def __init__(
        self, teacher: Teacher, clips: ClipSet, *, features: tuple[str, ...], device: torch.device
    ) -> None:
        """`clips` are the training clips with the inputs of the whole data set; `features` are those that losses
        need (`compress.features`)."""
        self._model = teacher.artifact.model.to(device)
        self._clips = clips.for_spec(teacher.artifact.spec)
        self._columns = len(teacher.artifact.spec.labels)
        self._features = features
        self._device = device
        self._last: tuple[object, Outputs] | None = None
        """The last outputs, which both targets of a mixed batch need."""

    def outputs(self, batch: Batch) -> Outputs:
        """Logits per label column and features of the batch, on the device."""
        seen = (tuple(batch.clips), batch.augmentation, batch.mix)
        if self._last is None or self._last[0] != seen:
            self._last = (seen, self._computed(batch))
        return self._last[1]

    def _computed(self, batch: Batch) -> Outputs:
        augmentation = batch.augmentation and batch.augmentation.clean
        inputs = self._clips.batch(batch.clips, augmentation=augmentation)
        if batch.mix is not None:
            inputs = mixed(inputs, batch.mix, self._clips.spec)
        with torch.no_grad(), watched(self._model, self._features) as features:
            logits = as_tuple(self._model(*placed(inputs, self._device)))[: self._columns]
        return Outputs(logits=logits, features=dict(features))
