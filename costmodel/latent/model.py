"""LatentCostModel: ranks traces by rolling them forward in latent space, without the compiler."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch

from foretune.costmodel.base import CostModel
from foretune.costmodel.latent.adaptation import TaskAdaptation
from foretune.costmodel.latent.encoding import (
    EncodedSpace,
    Vocabulary,
    encode_graph,
    encode_hardware,
    encode_space,
    observed_space,
)
from foretune.costmodel.latent.ensemble import Ensemble
from foretune.costmodel.latent.familiarity import Familiarity
from foretune.costmodel.latent.network import NetworkConfig
from foretune.costmodel.latent.threads import in_threads
from foretune.costmodel.latent.trace_encoder import ScheduleTraces, TraceEncoder
from foretune.costmodel.latent.training import TrainConfig, train
from foretune.costmodel.model_file import read_model, write_model
from foretune.costmodel.stored_network import network_of
from foretune.errors import ModelError, OptionError
from foretune.record import MeasureRecord, Status, Trajectory
from foretune.space import DesignSpace
from foretune.support.cache import RecentCache
from foretune.task import Candidate, Rewrite, Task
from foretune.trace import Trace

_CACHED_TASKS = 64
_CACHED_SPACES = 512
_CHUNK = 2048  # points scored at once


@dataclass(frozen=True)
class Prediction:
    """What the model says of N points.

    Attributes:
        score: [N] higher is better.
        spread: [N] standard deviation of the score.
        legality: [N] probability that the trace is legal.
        features: [N, F] latent features at the end of the rollout, then the symbolic state there.
    """

    score: np.ndarray
    spread: np.ndarray
    legality: np.ndarray
    features: np.ndarray


class LatentCostModel(CostModel):
    """The action-conditioned latent model.

    Args:
        network: its weights; they are only read by `predict` and `update`. None for a model that is still to be fitted.
        training_hash: identifies the data that the weights were trained on.
        config: how `fit` trains; by default with `seed` and the settings of `TrainConfig`.
        seed: of `fit`.
    """

    name = "latent"
    kind = "latent"
    """Of the model in a file; models that differ in their training alone read each other's files."""
    layout = "foretune-latent-5"
    """Changes with what the network reads and how it is built: weights of another layout do not fit."""
    encoder: TraceEncoder = ScheduleTraces()
    weights_file = "cpu.safetensors"

    def __init__(
        self, network: Ensemble | None = None, training_hash: str = "", config: TrainConfig | None = None, seed: int = 0
    ) -> None:
        self._network = network.eval() if network is not None else None
        self.training_hash = training_hash
        self._config = config if config is not None else self.default_config(seed)
        self._programs: RecentCache[tuple[torch.Tensor, torch.Tensor]] = RecentCache(_CACHED_TASKS)
        self._spaces: RecentCache[tuple[EncodedSpace, torch.Tensor, float]] = RecentCache(_CACHED_TASKS)
        self._familiarity: Familiarity | None = None
        self._searched: RecentCache[DesignSpace] = RecentCache(
            _CACHED_SPACES
        )  # the largest of each identity; its encoding serves its traces, too
        self._adaptations: defaultdict[tuple[str, ...], TaskAdaptation] = defaultdict(self._new_adaptation)

    @classmethod
    def default_config(cls, seed: int) -> TrainConfig:
        """How `fit` trains unless it is told otherwise."""
        return TrainConfig(seed=seed)

    @property
    def settings(self) -> str:
        """Of the network and its training."""
        return json.dumps([self.layout, asdict(self._config)], sort_keys=True)

    @property
    def network(self) -> Ensemble:
        """The weights.

        Raises:
            ModelError: the model was neither trained nor loaded.
        """
        if self._network is None:
            raise ModelError(
                f"the {self.name} model has neither been trained nor loaded: there is nothing to predict with, and"
                " nothing to save"
            )
        return self._network

    @property
    def _feature_widths(self) -> tuple[int, int]:
        """Of the latent features, with the trees' score, and of the symbolic state."""
        return self.network.config.latent * self.network.config.members + 1, self.encoder.state_width(
            self.network.vocabulary
        )

    def _new_adaptation(self) -> TaskAdaptation:
        return TaskAdaptation(self._feature_widths)

    @classmethod
    def bundled(cls) -> Self:
        """The weights that ship with Foretune; read once a process, since they are only read."""
        network, training_hash = _bundled(cls)
        return cls(network, training_hash)

    @classmethod
    def bundled_path(cls) -> Path:
        """The file of the weights that ship with Foretune."""
        return Path(__file__).parents[1] / "weights" / cls.weights_file

    # -- the model -------------------------------------------------------------------------------

    def encode(self, task: Task, rewrite: Rewrite | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """(latent state of the unscheduled program [1, D], its nodes [V, D]), or of a rewrite of it; computed once for
        each.
        """

        def make() -> tuple[torch.Tensor, torch.Tensor]:
            nodes = self.network.encode_nodes(encode_graph(task.workload.graph_after(rewrite), self.network.vocabulary))
            hardware = torch.from_numpy(encode_hardware(task.target.hardware))[None]
            return self.network.encode(nodes, torch.zeros(len(nodes), dtype=torch.int64), hardware), nodes

        with torch.inference_mode():
            return self._programs.get(_view_key(task, rewrite), make)

    def next(self, z: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """One step in latent space: [N, D] states and [N, D] embedded actions -> [N, D] states."""
        with torch.inference_mode():
            return self.network.next(z, action)

    def score(self, task: Task, space: DesignSpace, points: np.ndarray) -> Prediction:
        """Rolls points of a design space forward and scores where they end, adapted to the task's measurements.

        Args:
            points: [N, number of domains] int64 option indices.
        """
        key = (*task.key, space.space_id)
        if (known := self._searched.find(key)) is None or known.size < space.size:
            self._searched.put(key, space)
        rewrite = task.workload.rewrite_of(space.template)
        prediction = self._score_with_network(task, rewrite, space, points)
        score, spread = self._adaptations[_view_key(task, rewrite)].predict(
            prediction.features, prediction.score, prediction.spread
        )
        return Prediction(score, spread, prediction.legality, prediction.features)

    def _score_with_network(
        self, task: Task, rewrite: Rewrite | None, space: DesignSpace, points: np.ndarray
    ) -> Prediction:
        z0, nodes = self.encode(task, rewrite)

        def make() -> tuple[EncodedSpace, torch.Tensor, float]:
            encoded = encode_space(_after(rewrite, space), task.workload.graph_after(rewrite), self.network.vocabulary)
            if self._familiarity is None:
                self._familiarity = Familiarity(self.network.vocabulary)
            return (
                encoded,
                self.network.encode_steps(encoded.table, nodes),
                self._familiarity.spread_factor(task, encoded),
            )

        with torch.inference_mode():
            encoded, steps, widening = self._spaces.get((task.key, space), make)
        parts = np.array_split(points, -(-len(points) // _CHUNK) or 1)  # a chunk's arrays stay in the cache
        chunks = in_threads(functools.partial(self._score_chunk, z0, steps, encoded), parts)
        score, spread, legality, features = (np.concatenate(columns) for columns in zip(*chunks))
        return Prediction(score, widening * spread, legality, features)

    @torch.inference_mode()
    def _score_chunk(
        self, z0: torch.Tensor, steps: torch.Tensor, encoded: EncodedSpace, points: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        z, total = self.network.rollout_shared(z0, steps, torch.from_numpy(encoded.ids(points)))
        nest = torch.from_numpy(encoded.state(points))
        features = self.network.features(z0.expand_as(z), z, total, nest)
        heads = self.network.score(features)  # [N, K]
        legality = torch.sigmoid(self.network.legality(features))
        return tuple(
            part.double().numpy() for part in (heads.mean(1), heads.std(1), legality, torch.cat([features, nest], 1))
        )

    # -- the CostModel role ----------------------------------------------------------------------

    def fit(self, trajectories: Sequence[Trajectory], validation: Sequence[Trajectory] = ()) -> None:
        """Trains from scratch; see `foretune.costmodel.latent.training` for checkpoints, reports and fine-tuning."""
        trained = train(trajectories, self._config, validation=validation, encoder=self.encoder)
        self.__init__(trained.network, trained.training_hash, self._config)

    def predict(self, task: Task, candidates: Sequence[Candidate]) -> np.ndarray:
        """Scores candidates of one task; [N] float64, higher is better."""
        return self.predict_with_spread(task, candidates)[0]

    def predict_with_spread(self, task: Task, candidates: Sequence[Candidate]) -> tuple[np.ndarray, np.ndarray]:
        """Scores [N], higher is better, and their standard deviations [N]."""
        prediction = self._predict_candidates(task, candidates)
        return prediction.score, prediction.spread

    def predict_legality(self, task: Task, candidates: Sequence[Candidate]) -> np.ndarray:
        """Probability that each candidate is legal; [N]."""
        return self._predict_candidates(task, candidates).legality

    def _predict_candidates(self, task: Task, candidates: Sequence[Candidate]) -> Prediction:
        count, width = len(candidates), sum(self._feature_widths)
        whole = Prediction(np.zeros(count), np.zeros(count), np.zeros(count), np.zeros((count, width)))
        for rows, space, points in self._by_space(task, [c.trace for c in candidates]):
            part = self.score(task, space, points)
            for name in ("score", "spread", "legality", "features"):
                getattr(whole, name)[rows] = getattr(part, name)
        return whole

    def update(self, records: Sequence[MeasureRecord]) -> None:
        """Adapts to measured records, task by task, in closed form; the weights stay as they are."""
        by_task: dict[tuple[str, ...], list[MeasureRecord]] = defaultdict(list)
        for record in records:
            if record.status is Status.OK and len(record.trace):
                task = record.candidate.task
                by_task[_view_key(task, task.workload.rewrite_of(record.trace))].append(record)
        for key, measured in by_task.items():
            features, scores, secs = [], [], []
            task = measured[0].candidate.task
            for rows, space, points in self._by_space(task, [r.trace for r in measured]):
                prediction = self._score_with_network(task, task.workload.rewrite_of(space.template), space, points)
                features.append(prediction.features)
                scores.append(prediction.score)
                secs.append(np.array([measured[i].best_secs for i in rows]))
            self._adaptations[key].add(np.concatenate(features), np.concatenate(scores), np.concatenate(secs))

    def _by_space(self, task: Task, traces: Sequence[Trace]) -> Iterator[tuple[list[int], DesignSpace, np.ndarray]]:
        """Groups traces of a task by design space: (row numbers, space, points)."""
        groups: dict[str, list[int]] = defaultdict(list)
        for i, trace in enumerate(traces):
            groups[trace.space_id].append(i)
        for space_id, rows in groups.items():
            members = [traces[i] for i in rows]
            known = self._searched.find((*task.key, space_id))
            encoded = [known.encode(trace) for trace in members] if known is not None else []
            points = [point for point in encoded if point is not None]
            if known is not None and points and len(points) == len(encoded):
                yield rows, known, np.stack(points)
            else:
                yield rows, *observed_space(members)

    def save(self, path: Path) -> None:
        """Writes the weights; see `foretune.costmodel.model_file`."""
        header = {
            "layout": self.layout,
            "vocabulary": self.network.vocabulary.to_json(),
            "config": asdict(self.network.config),
            "training_hash": self.training_hash,
            "fingerprint": self.fingerprint,
        }
        write_model(path, self.kind, header, {name: w.numpy() for name, w in self.network.state_dict().items()})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            ModelError: the file is missing, truncated, of another schema, or its weights have wrong names or shapes.
        """
        header, arrays = read_model(path, cls.kind)
        try:
            if header["layout"] != cls.layout:
                raise ModelError(f"{path} has layout {header['layout']!r}, but this release reads {cls.layout!r}")
            known = Vocabulary(**{k: tuple(map(str, v)) for k, v in header["vocabulary"].items()})
            config, width = NetworkConfig(**header["config"]), cls.encoder.state_width(known)
            if max(config.members, config.rounds) > len(arrays):
                raise ModelError(f"{path} is damaged: it states more parts of a network than it holds")
            network = network_of(lambda: Ensemble.untrained(known, config, width), arrays)
            model = cls(network, str(header["training_hash"]))
            stated = header["fingerprint"]
        except (KeyError, TypeError, ValueError, AttributeError, OptionError, RuntimeError) as error:
            raise ModelError(f"{path} is damaged or does not fit this release: {error}") from error
        if stated != model.fingerprint:
            raise ModelError(f"{path} is damaged: its weights do not have the fingerprint that its header states")
        return model

    @property
    def fingerprint(self) -> str:
        """A hash of the weights, 16 hex digits."""
        digest = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


@functools.cache
def _bundled(kind: type[LatentCostModel]) -> tuple[Ensemble, str]:
    model = kind.load(kind.bundled_path())
    return model.network, model.training_hash


def _view_key(task: Task, rewrite: Rewrite | None) -> tuple[str, ...]:
    """Tells a task's program and its rewrites apart: scores of one say nothing of another."""
    return task.key if rewrite is None else (*task.key, rewrite.prefix.key)


def _after(rewrite: Rewrite | None, space: DesignSpace) -> DesignSpace:
    """The design space without the actions of the rewrite, as one of the rewritten program."""
    if rewrite is None:
        return space
    count = len(rewrite.prefix)
    return DesignSpace(
        Trace(space.template.actions[count:]), tuple(replace(d, action=d.action - count) for d in space.domains)
    )
