"""Rivals of the MLIR cost model: language models over the module's text, and tables of operation counts.

The text models follow Das and Mannarswamy, ML-driven Hardware Cost Model for MLIR, 2023: an LSTM, a one-dimensional
convolution and a transformer over tokens, each read out by a small head; LightGBM and ridge regression see counts of
operations and types and the logarithms of extents. All are trained on the same labels and the same split as the model
that they are rivals of, and know the target.

Dimension letters: N programs, L tokens, D width, A labels.
"""

from __future__ import annotations

import copy
import math
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from foretune.errors import ModelError, OptionError
from foretune.support.optional import require

TEXT_RIVALS = ("lstm", "conv1d", "transformer")
COUNT_RIVALS = ("lightgbm", "ridge")
_TOKEN = re.compile(
    r"%[\w#:]+|@[\w]+|\^\w+|#\w+|\d+\.\d+e[+-]?\d+|[A-Za-z_][\w]*(?:\.[\w.]+)?|-?\d+|->|[\[\](){}<>=,:*+]"
)
_MAX_WORDS = 1500


@dataclass(frozen=True)
class TextExample:
    """A module's text with its target's features [F] and its labels [A], NaN where unknown."""

    text: str
    target: np.ndarray
    labels: np.ndarray


def tokens(text: str, limit: int | None = None) -> list[str]:
    """Words of a module: names of values are all alike, integers are split by size, shapes into their extents."""
    found: list[str] = []
    for match in _TOKEN.finditer(text):
        word = match[0]
        if word[0] in "%@^#":
            found.append(word[0])
        elif re.fullmatch(r"-?\d+", word):
            found.append(_size(int(word)))
        elif re.match(r"x\d", word) or re.fullmatch(r"(x?\d+)*x[a-z]\w*", word):  # the rest of a shape such as 8x16xf32
            found += [_size(int(part)) if part.isdigit() else part for part in word.split("x") if part]
        else:
            found.append(word if not word[0].isdigit() else "float")
        if limit is not None and len(found) >= limit:
            return found[:limit]
    return found


def _size(number: int) -> str:
    return f"n{number}" if 0 <= number <= 64 else f"n~{round(4 * math.log2(abs(number)))}" if number else "n0"


class TextModel(nn.Module):
    """A text model: [N, L] tokens -> [N, A].

    Args:
        kind: one of `TEXT_RIVALS`.
        words, target, labels: sizes of the vocabulary, the target's features and the labels.
    """

    def __init__(self, kind: str, words: int, target: int, labels: int, width: int = 96) -> None:
        super().__init__()
        if kind not in TEXT_RIVALS:
            raise OptionError(f"a text model must be one of {list(TEXT_RIVALS)}, but got {kind!r}")
        self.kind = kind
        self.embedding = nn.Embedding(words + 2, width, padding_idx=0)
        if kind == "lstm":
            self.body: nn.Module = nn.LSTM(width, width, batch_first=True)
        elif kind == "conv1d":
            self.body = nn.Sequential(
                *(part for _ in range(3) for part in (nn.Conv1d(width, width, 5, padding=2), nn.SiLU()))
            )
        else:
            self.position = nn.Embedding(1024, width)
            layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
            self.body = nn.TransformerEncoder(layer, 2, nn.LayerNorm(width), enable_nested_tensor=False)
        self.out = nn.Sequential(nn.Linear(3 * width + target, 2 * width), nn.SiLU(), nn.Linear(2 * width, labels))

    def forward(self, ids: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Labels, standardised."""
        mask = ids > 0  # [N, L]
        x = self.embedding(ids)
        if self.kind == "lstm":
            x = self.body(x)[0]
        elif self.kind == "conv1d":
            x = self.body(x.transpose(1, 2)).transpose(1, 2)
        else:
            x = self.body(x + self.position(torch.arange(ids.shape[1])), src_key_padding_mask=~mask)
        weight = mask[:, :, None].float()
        mean = (x * weight).sum(1) / weight.sum(1).clamp(min=1)
        total = torch.sign((x * weight).sum(1)) * torch.log1p((x * weight).sum(1).abs())
        return self.out(torch.cat([mean, total, x.masked_fill(~mask[:, :, None], -1e4).amax(1), target], 1))


class TextRival:
    """A text model with its vocabulary and its training.

    Args:
        kind: one of `TEXT_RIVALS`.
        seed: of weights and order.
        max_tokens: of a module; the rest is cut off.
        epochs: passes over the data, at most.
        budget_secs: training ends after the epoch in which so much time has passed.
    """

    def __init__(
        self, kind: str, seed: int = 0, max_tokens: int = 384, epochs: int = 12, budget_secs: float = math.inf
    ) -> None:
        if kind not in TEXT_RIVALS:
            raise OptionError(f"a text model must be one of {list(TEXT_RIVALS)}, but got {kind!r}")
        self.kind, self.seed, self.max_tokens, self.epochs, self.budget_secs = (
            kind,
            seed,
            max_tokens,
            epochs,
            budget_secs,
        )
        self._model: TextModel | None = None

    def fit(self, examples: Sequence[TextExample], held_out: Sequence[TextExample] = ()) -> None:
        """Trains from scratch, to the weights of the best epoch on the held-out programs."""
        torch.manual_seed(self.seed)
        rng = np.random.default_rng(self.seed)
        counts = Counter(word for e in examples for word in tokens(e.text, self.max_tokens))
        self._words = {word: i + 2 for i, (word, _) in enumerate(counts.most_common(_MAX_WORDS))}
        labels = np.stack([e.labels for e in examples])
        self._mean, self._scale = np.nanmean(labels, 0), np.maximum(np.nanstd(labels, 0), 1e-2)
        targets = np.stack([e.target for e in examples])
        self._target_mean, self._target_scale = (
            targets.mean(0),
            np.where(targets.std(0) > 1e-3, 1 / np.maximum(targets.std(0), 1e-3), 0),
        )
        self._model = TextModel(self.kind, len(self._words), targets.shape[1], labels.shape[1])
        coded, held = [self._code(e.text) for e in examples], [self._code(e.text) for e in held_out]
        y = torch.from_numpy((labels - self._mean) / self._scale).float()
        optimizer = torch.optim.AdamW(self._model.parameters(), lr=2e-3, weight_decay=1e-2, fused=True)
        size = 64
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 2e-3, total_steps=self.epochs * (-(-len(examples) // size)) + 1, pct_start=0.1
        )
        best, kept, start = math.inf, None, time.monotonic()
        lengths = np.array([len(c) for c in coded])
        for _ in range(self.epochs):
            self._model.train()
            order = rng.permutation(len(coded))
            order = order[np.argsort(lengths[order] // 32, kind="stable")]
            parts = [order[i : i + size] for i in range(0, len(order), size)]
            for at in rng.permutation(len(parts)):
                rows = parts[at]
                optimizer.zero_grad()
                predicted = self._model(_padded([coded[i] for i in rows]), self._targets([examples[i] for i in rows]))
                known = ~y[rows].isnan()
                loss = (
                    nn.functional.huber_loss(predicted, y[rows].nan_to_num(), reduction="none", delta=0.5) * known
                ).sum() / known.sum().clamp(min=1)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
            self._model.eval()
            if held_out:
                error = float(
                    np.nanmean(
                        np.abs(self._predict(held, held_out) - np.stack([e.labels for e in held_out])) / self._scale
                    )
                )
                if error < best:
                    best, kept = error, copy.deepcopy(self._model.state_dict())
            if time.monotonic() - start > self.budget_secs:
                break
        if kept is not None:
            self._model.load_state_dict(kept)
        self._model.eval()

    def predict(self, examples: Sequence[TextExample]) -> np.ndarray:
        """Labels of modules; [N, A]."""
        return self._predict([self._code(e.text) for e in examples], examples)

    def _predict(self, coded: Sequence[np.ndarray], examples: Sequence[TextExample]) -> np.ndarray:
        if self._model is None:
            raise ModelError(f"the {self.kind} model has not been trained")
        with torch.inference_mode():
            parts = [
                self._model(_padded(coded[i : i + 128]), self._targets(examples[i : i + 128])).numpy()
                for i in range(0, len(coded), 128)
            ]
        return np.concatenate(parts) * self._scale + self._mean

    def _targets(self, examples: Sequence[TextExample]) -> torch.Tensor:
        return torch.from_numpy(
            (np.stack([e.target for e in examples]) - self._target_mean) * self._target_scale
        ).float()

    def _code(self, text: str) -> np.ndarray:
        return np.array([self._words.get(word, 1) for word in tokens(text, self.max_tokens)] or [1], np.int64)


def _padded(rows: Sequence[np.ndarray]) -> torch.Tensor:
    out = np.zeros((len(rows), max(len(r) for r in rows)), np.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return torch.from_numpy(out)


class CountRival:
    """LightGBM or ridge regression on counts of words.

    Args:
        kind: one of `COUNT_RIVALS`.
        seed: of what is random.
        rounds: trees of LightGBM for each label.
    """

    def __init__(self, kind: str, seed: int = 0, rounds: int = 300) -> None:
        if kind not in COUNT_RIVALS:
            raise OptionError(f"a model of counts must be one of {list(COUNT_RIVALS)}, but got {kind!r}")
        self.kind, self.seed, self.rounds = kind, seed, rounds

    def fit(self, examples: Sequence[TextExample], held_out: Sequence[TextExample] = ()) -> None:
        """Trains from scratch; held-out programs stop LightGBM early."""
        counts = Counter(word for e in examples for word in set(tokens(e.text)))
        self._words = {word: i for i, (word, n) in enumerate(counts.most_common(400)) if n > 3}
        x, y = self._table(examples), np.stack([e.labels for e in examples])
        self._models = []
        for a in range(y.shape[1]):
            known = np.isfinite(y[:, a])
            self._models.append(self._one(x[known], y[known, a], held_out, a))

    def _one(self, x: np.ndarray, y: np.ndarray, held_out: Sequence[TextExample], label: int):
        if self.kind == "ridge":
            linear, processing = (
                require("sklearn.linear_model", "the ridge model"),
                require("sklearn.preprocessing", "the ridge model"),
            )
            scaler = processing.StandardScaler().fit(x)
            model = linear.Ridge(alpha=10.0).fit(scaler.transform(x), y)
            low, high = y.min(), y.max()
            return lambda table: np.clip(model.predict(scaler.transform(table)), low, high)
        lightgbm = require("lightgbm", "the lightgbm model")
        parameters = {
            "objective": "l2",
            "learning_rate": 0.06,
            "num_leaves": 31,
            "feature_fraction": 0.5,
            "min_data_in_leaf": 5,
            "verbose": -1,
            "seed": self.seed,
            "num_threads": torch.get_num_threads(),
        }
        booster = lightgbm.train(parameters, lightgbm.Dataset(x, y), self.rounds)
        return booster.predict

    def predict(self, examples: Sequence[TextExample]) -> np.ndarray:
        """Labels of modules; [N, A]."""
        table = self._table(examples)
        return np.stack([model(table) for model in self._models], 1)

    def _table(self, examples: Sequence[TextExample]) -> np.ndarray:
        table = np.zeros((len(examples), len(self._words) + 3 + len(examples[0].target)))
        for i, example in enumerate(examples):
            words = tokens(example.text)
            for word in words:
                if word in self._words:
                    table[i, self._words[word]] += 1
            sizes = [_log_extents(shape) for shape in re.findall(r"(?:tensor|memref|vector)<((?:\d+x)+)", example.text)]
            table[i, len(self._words) : len(self._words) + 3] = (max(sizes, default=0.0), sum(sizes), len(words))
            table[i, len(self._words) + 3 :] = example.target
        return table


def _log_extents(shape: str) -> float:
    return sum(math.log2(int(n)) for n in shape.split("x") if n and int(n) > 0)
