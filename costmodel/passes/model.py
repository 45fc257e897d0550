"""PassCostModel: the latent model of compiler passes. It ranks sequences by rolling them forward from the unoptimised
program.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from foretune.costmodel.latent.adaptation import StepAdaptation
from foretune.costmodel.latent.losses import LossConfig
from foretune.costmodel.latent.model import LatentCostModel, Prediction
from foretune.costmodel.latent.network import NetworkConfig
from foretune.costmodel.latent.training import TrainConfig
from foretune.costmodel.passes.traces import PassTraces
from foretune.record import MeasureRecord, Status
from foretune.task import Candidate, Task


class PassCostModel(LatentCostModel):
    """The action-conditioned latent model, for sequences of passes and flags.

    Networks, trees, training, adaptation and files are those of `LatentCostModel`; only the reading of traces differs.
    """

    name = "passes"
    kind = "passes"
    layout = "foretune-latent-passes-2"
    encoder = PassTraces()
    weights_file = "passes.safetensors"

    @classmethod
    def default_config(cls, seed: int) -> TrainConfig:
        """How `fit` trains unless it is told otherwise."""
        return TrainConfig(
            epochs=24,
            tasks_per_step=6,
            seed=seed,
            network=NetworkConfig(latent=32, rounds=2, trees=600, tree_levels=5, linear=True),
            losses=LossConfig(ties=True),
        )

    def _new_adaptation(self) -> StepAdaptation:
        return StepAdaptation(len(self.network.vocabulary.symbols))

    def _predict_candidates(self, task: Task, candidates: Sequence[Candidate]) -> Prediction:
        prediction = self._roll(task, candidates)
        score, spread = self._adaptations[task.key].predict(prediction.features, prediction.score, prediction.spread)
        return replace(prediction, score=score, spread=spread)

    @torch.inference_mode()
    def _roll(self, task: Task, candidates: Sequence[Candidate]) -> Prediction:
        """What the networks say, not adapted."""
        if not candidates:
            return Prediction(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros((0, sum(self._feature_widths))))
        encoded, order = self.encoder.encode(task, [c.trace for c in candidates], self.network.vocabulary)
        z0, nodes = self.encode(task)
        steps = self.network.encode_steps(encoded.tables[0], nodes)  # one table serves all lengths
        parts = []
        for ids, state in zip(encoded.ids, encoded.nests):
            z, total = self.network.rollout_shared(z0, steps, torch.from_numpy(ids))
            parts.append((z, total, torch.from_numpy(state)))
        z, total, state = (torch.cat(column) for column in zip(*parts))
        features = self.network.features(z0.expand_as(z), z, total, state)
        heads = self.network.score(features)  # [N, K]
        legality = torch.sigmoid(self.network.legality(features))
        back = np.argsort(order)
        columns = (heads.mean(1), heads.std(1), legality, torch.cat([features, state], 1))
        return Prediction(*(column.double().numpy()[back] for column in columns))

    def update(self, records: Sequence[MeasureRecord]) -> None:
        """Adapts to measured records, task by task, in closed form; the weights stay as they are."""
        by_task: dict[tuple[str, str], list[MeasureRecord]] = defaultdict(list)
        for record in records:
            if record.status is Status.OK:
                by_task[record.candidate.task.key].append(record)
        for key, measured in by_task.items():
            prediction = self._roll(measured[0].candidate.task, [r.candidate for r in measured])
            self._adaptations[key].add(prediction.features, prediction.score, np.array([r.best_secs for r in measured]))
