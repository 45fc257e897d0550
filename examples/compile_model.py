"""A PyTorch model through `torch.compile(model, backend="foretune")`, and who runs it in the end.

python examples/compile_model.py --trials 16
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

import foretune


class Classifier(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--trials", type=int, default=16, help="measurements for each tuning task; 0 lets the model alone decide"
    )
    parser.add_argument("--database", default="", help="file of measured records; by default the user's own")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model, x = Classifier().eval(), torch.randn(1, 3, 32, 32)
    compiled = torch.compile(
        model, backend="foretune", options={"trials": arguments.trials, "database": arguments.database}
    )
    with torch.no_grad():
        difference = (compiled(x) - model(x)).abs().max()
    print(foretune.explain(compiled))
    print(f"largest difference from eager: {difference:.1e}")


if __name__ == "__main__":
    main()
