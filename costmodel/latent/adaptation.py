"""Adaptation to one task: a Gaussian process on the frozen latent features and the symbolic state of measured
candidates.

The network's score is the prior mean; the process models what it gets wrong on this task. It is
refitted in closed form after each batch, in milliseconds, and never touches the network's weights.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapters 2 and 5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_MAX_POINTS = 512
_SAME = 1e-9  # share of the largest squared distance below which two points differ by rounding alone
_CONSTANT = (
    1e-5  # deviation, for a mean of 1, below which a column differs by rounding alone: features are made in float32
)


class TaskAdaptation:
    """Corrects scores of one task by its measured candidates.

    Args:
        widths: of the parts of the features; each part counts the same in a distance, however many columns it has.
    """

    least_variance = 0.02
    """Of what the network gets wrong, in squared log seconds; few points may look better than that by chance."""
    noise = 0.25
    """Variance of a measurement, as a share of that."""

    def __init__(self, widths: Sequence[int] = ()) -> None:
        self._bounds = np.cumsum(widths)[:-1] if len(widths) else []
        self._features = np.zeros((0, 0))
        self._scores = np.zeros(0)
        self._log_secs = np.zeros(0)
        self._fitted = False

    @property
    def num_points(self) -> int:
        """Measured candidates so far."""
        return len(self._log_secs)

    def add(self, features: np.ndarray, scores: np.ndarray, secs: np.ndarray) -> None:
        """Adds measured candidates and refits.

        Args:
            features: [N, F] latent features and symbolic state.
            scores: [N] the network's scores, higher is better.
            secs: [N] run times in seconds.
        """
        if not len(secs):
            return
        empty = not len(self._log_secs)
        self._features = features if empty else np.concatenate([self._features, features])
        self._scores = np.concatenate([self._scores, scores])
        self._log_secs = np.concatenate([self._log_secs, np.log(secs)])
        if len(self._log_secs) > _MAX_POINTS:  # keep the fastest half of the budget and the newest rest
            fastest = np.argsort(self._log_secs)[: _MAX_POINTS // 2]
            keep = np.union1d(fastest, np.arange(len(self._log_secs) - _MAX_POINTS // 2, len(self._log_secs)))
            self._features, self._scores, self._log_secs = (
                self._features[keep],
                self._scores[keep],
                self._log_secs[keep],
            )
        self._fit()

    def predict(self, features: np.ndarray, scores: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Corrected scores and their standard deviation, both in units of -log seconds; higher is better.

        Args:
            features: [N, F]. scores: [N]. spread: [N] the network's own uncertainty.
        """
        if not self._fitted:
            return scores, spread
        cross = self._kernel(self._scaled(features), self._known)  # [N, n]
        prior = self._slope * scores + self._intercept
        mean = prior + cross @ self._weights
        v = cross @ self._whitening.T
        variance = np.maximum(self._amplitude - (v * v).sum(1), 1e-6)
        return mean, np.sqrt(variance)

    def _fit(self) -> None:
        target = -self._log_secs
        # the prior mean is the network's score, scaled to this task; few points are shrunk to slope 1
        centred_score, centred_target = self._scores - self._scores.mean(), target - target.mean()
        strength = 4.0 * max(float(np.var(self._scores)), 1e-3)
        self._slope = max(0.0, (centred_score @ centred_target + strength) / (centred_score @ centred_score + strength))
        self._intercept = float(target.mean() - self._slope * self._scores.mean())
        residual = target - self._slope * self._scores - self._intercept
        self._amplitude = max(float(residual @ residual / len(residual)), self.least_variance)
        self._fit_scale()
        self._known = self._scaled(self._features)
        squared = _squared_distances(self._known, self._known)
        pairs = squared[np.triu_indices(len(squared), 1)]
        apart = pairs[pairs > _SAME * pairs.max(initial=0.0)]
        median = float(np.median(apart)) if len(apart) else 1.0
        best = -np.inf
        for scale in (0.15, 0.5, 1.5):
            length = scale * median
            kernel = self._amplitude * np.exp(-0.5 * squared / length)
            cholesky = np.linalg.cholesky(kernel + (self.noise * self._amplitude + 1e-6) * np.eye(len(residual)))
            whitening = np.linalg.inv(cholesky)  # once, so that each of many predictions is a product
            white = whitening @ residual
            likelihood = -0.5 * white @ white - np.log(np.diag(cholesky)).sum()
            if likelihood > best:
                best, self._length, self._whitening, self._weights = likelihood, length, whitening, whitening.T @ white
        self._fitted = True

    def _fit_scale(self) -> None:
        deviation = self._features.std(0)
        varies = deviation > _CONSTANT * np.maximum(1.0, np.abs(self._features.mean(0)))
        counts = np.concatenate([np.full(len(part), max(1, part.sum())) for part in np.split(varies, self._bounds)])
        self._columns = np.flatnonzero(varies)
        self._shift = self._features.mean(0)[self._columns]
        self._scale = 1.0 / (deviation * np.sqrt(counts))[self._columns]

    def _scaled(self, features: np.ndarray) -> np.ndarray:
        """Features with mean 0 and deviation 1 over what was measured, each part of them with the same weight; what is
        constant is left out.
        """
        return (features[:, self._columns] - self._shift) * self._scale

    def _kernel(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self._amplitude * np.exp(-0.5 * _squared_distances(a, b) / self._length)


class StepAdaptation(TaskAdaptation):
    """Corrects scores of sequences of passes: alike are those that have the same steps, whatever the latent states say.

    Steps that were seldom measured count no more than others, unlike in a distance between standardised columns; of the
    distances tried on training programs, this one ranked unseen sequences best.

    Args:
        num_steps: the last columns of the features tell which steps a sequence has.
    """

    least_variance = 0.0025
    noise = 0.1

    def __init__(self, num_steps: int) -> None:
        super().__init__()
        self._num_steps = num_steps

    def _fit_scale(self) -> None:
        pass

    def _scaled(self, features: np.ndarray) -> np.ndarray:
        return np.clip(features[:, features.shape[1] - self._num_steps :], -1.0, 1.0)


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T, 0.0)
