"""Embeddings of modules in the manner of IR2Vec.

Source: VenkataKeerthy et al., "IR2Vec: LLVM IR Based Scalable Program Embeddings", 2020. Opcodes, types and kinds of
operands have vectors, learnt so that opcode + relation is near to what stands in that relation to it (TransE; Bordes et
al., 2013). An instruction is a weighted sum of its own vectors and, where operands are instructions, of theirs, so that
the flow of data counts; a block is the sum of its instructions, and a module that of its blocks, those in loops
weighted by their depth. Names do not matter.

The vectors that ship with Foretune were learnt from its training programs; `python -m foretune.passes.llvm.embedding`
learns them anew.

Dimension letters: D of the embedding, E entities, R relations, N triplets.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import numpy as np

from foretune.errors import DataError
from foretune.passes.llvm.capi import Llvm
from foretune.support.files import write_text_atomically

DIMENSIONS = 64
VOCABULARY = Path(__file__).with_name("vocabulary.json")
_OPCODE_WEIGHT, _TYPE_WEIGHT, _OPERAND_WEIGHT = 1.0, 0.5, 0.2  # as in the paper
_ARGUMENTS = 3  # operands with a relation of their own; later ones share one
_DEEPEST = 3
_EPOCHS, _BATCH, _LEARNING_RATE, _MARGIN = 60, 1024, 0.02, 1.0

Triplet = tuple[str, str, str]
"""(opcode, relation, entity)."""


class Vocabulary:
    """Vectors of entities.

    Args:
        vectors: entity -> its vector [D].
    """

    def __init__(self, vectors: Mapping[str, np.ndarray]) -> None:
        self._vectors = dict(vectors)
        self._unknown = np.zeros(len(next(iter(self._vectors.values()))) if self._vectors else DIMENSIONS)

    def __getitem__(self, entity: str) -> np.ndarray:
        """The vector of an entity, [D]; zeros for one that was never seen."""
        return self._vectors.get(entity, self._unknown)

    @classmethod
    @cache
    def bundled(cls) -> Vocabulary:
        """The vectors that ship with Foretune."""
        return cls.load(VOCABULARY)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Reads what `save` wrote.

        Raises:
            DataError: the file is missing or damaged.
        """
        try:
            rows = json.loads(path.read_text())
            vectors = {str(entity): np.array(row, np.float64) for entity, row in rows.items()}
            if len({v.shape for v in vectors.values()}) != 1 or not all(
                v.ndim == 1 and np.isfinite(v).all() for v in vectors.values()
            ):
                raise ValueError("vectors must be finite and of one length")
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is no vocabulary: {error}") from error
        return cls(vectors)

    def save(self, path: Path) -> None:
        """Writes the vectors as JSON."""
        write_text_atomically(
            path, json.dumps({e: [round(float(x), 4) for x in v] for e, v in sorted(self._vectors.items())}) + "\n"
        )


def embed(llvm: Llvm, module: int, depths: Mapping[int, int], vocabulary: Vocabulary) -> np.ndarray:
    """A module's embedding, [D].

    Args:
        llvm, module: what to look at.
        depths: loop depth of each block, by its handle.
        vocabulary: the vectors.
    """
    total = np.zeros(DIMENSIONS)
    for function in llvm.functions(module):
        made: dict[int, np.ndarray] = {}
        for block in llvm.blocks(function):
            weight = 2.0 ** min(depths.get(block, 0), _DEEPEST)
            for instruction in llvm.instructions(block):
                opcode, kind, operands = _read(llvm, instruction)
                # a definition that comes later, over a loop's back edge, counts by its kind
                flow = sum(
                    (made[o] if o in made else vocabulary[entity] for o, entity in operands), np.zeros(DIMENSIONS)
                )
                vector = _OPCODE_WEIGHT * vocabulary[opcode] + _TYPE_WEIGHT * vocabulary[kind] + _OPERAND_WEIGHT * flow
                made[instruction] = vector / max(
                    1.0, float(np.linalg.norm(vector))
                )  # long chains must not grow without end
                total += weight * made[instruction]
    return total


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """1 - cosine of two embeddings: 0 of modules that do the same kinds of things, whatever their size."""
    norm = float(np.linalg.norm(one) * np.linalg.norm(other))
    return 1.0 - float(one @ other) / norm if norm else float(one.any() != other.any())


def triplets(llvm: Llvm, module: int) -> Counter[Triplet]:
    """What stands in which relation to an opcode, and how often."""
    found: Counter[Triplet] = Counter()
    for function in llvm.functions(module):
        for block in llvm.blocks(function):
            before = ""
            for instruction in llvm.instructions(block):
                opcode, kind, operands = _read(llvm, instruction)
                found[opcode, "type", kind] += 1
                if before:
                    found[before, "next", opcode] += 1
                for position, (_, entity) in enumerate(operands):
                    found[opcode, f"argument{min(position, _ARGUMENTS)}", entity] += 1
                before = opcode
    return found


def _read(llvm: Llvm, instruction: int) -> tuple[str, str, list[tuple[int, str]]]:
    """(opcode, type, operands with their kinds), as entities."""
    operands = [(o, llvm.operand_kind(o)) for o in llvm.operands(instruction)]
    return f"opcode{llvm.opcode(instruction)}", f"type{llvm.type_kind(instruction)}", operands


def learn(counts: Mapping[Triplet, int], seed: int = 0) -> Vocabulary:
    """Learns vectors from triplets.

    Raises:
        DataError: there are none.
    """
    if not counts:
        raise DataError("no instruction was seen: there is nothing to learn a vocabulary from")
    entities = sorted({e for head, _, tail in counts for e in (head, tail)})
    relations = sorted({relation for _, relation, _ in counts})
    entity_of, relation_of = ({name: i for i, name in enumerate(names)} for names in (entities, relations))
    rows = np.array([(entity_of[h], relation_of[r], entity_of[t]) for h, r, t in counts])  # [distinct, 3]
    share = np.sqrt(np.array([*counts.values()], np.float64))  # common ones more often, but not as often as they are
    share /= share.sum()
    rng = np.random.default_rng(seed)
    e, r = (
        _normalised(rng.standard_normal((len(names), DIMENSIONS))) for names in (entities, relations)
    )  # [E, D], [R, D]
    for _ in range(_EPOCHS * max(1, len(rows) // _BATCH)):
        head, relation, tail = rows[rng.choice(len(rows), _BATCH, p=share)].T  # [N] each
        wrong = rng.integers(len(entities), size=_BATCH)
        near, far = e[head] + r[relation] - e[tail], e[head] + r[relation] - e[wrong]  # [N, D]
        violated = (_MARGIN + np.linalg.norm(near, axis=1) - np.linalg.norm(far, axis=1) > 0)[:, None]
        near, far = violated * _normalised(near), violated * _normalised(far)
        for table, index, step in ((e, head, near - far), (r, relation, near - far), (e, tail, -near), (e, wrong, far)):
            np.add.at(table, index, -_LEARNING_RATE * step)
        e = _normalised(e)
    return Vocabulary(dict(zip(entities, e)))


def _normalised(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def triplet_rows(counts: Counter[Triplet]) -> list[list[str | int]]:
    """Triplets as JSON data."""
    return [[*triplet, number] for triplet, number in sorted(counts.items())]


def add_rows(counts: Counter[Triplet], rows: Iterable[list]) -> None:
    """Adds what `triplet_rows` made."""
    for head, relation, tail, number in rows:
        counts[head, relation, tail] += number


def main() -> None:
    """Learns the bundled vectors from the training programs."""
    import tempfile

    from foretune.passes.llvm.measure import PassMeasurer
    from foretune.passes.llvm.program import load_programs
    from foretune.passes.llvm.suite import FOLDER, training

    counts: Counter[Triplet] = Counter()
    with tempfile.TemporaryDirectory() as folder, PassMeasurer() as measurer:
        for program in load_programs(FOLDER, Path(folder)):
            if program.name in training():
                for optimised in (False, True):
                    add_rows(counts, measurer.compiler.triplets(program.module, optimised))
    learn(counts).save(VOCABULARY)
    print(f"{len(counts)} distinct triplets -> {VOCABULARY}")


if __name__ == "__main__":
    main()
