"""How alike two texts are by the letters they are written with: hashed character 4-grams, no model, any language."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Vectors: TypeAlias = npt.NDArray[np.float32]
Embed: TypeAlias = Callable[[Sequence[str]], Vectors]  # n texts → (n, any number of dimensions)

DIMENSIONS = 2048
_GRAM = 4
_SPREAD = np.uint32(2654435761)  # Knuth's multiplicative hash


def lexical(texts: Sequence[str]) -> Vectors:
    """One row a text: 1 + log of how often each 4-gram of its lower-case UTF-8 occurs, to length 1; zeros if too short.

    Feature hashing (Weinberger et al., 2009) of character n-grams (Cavnar and Trenkle, 1994).
    """
    vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
    for row, text in enumerate(texts):
        letters = np.frombuffer(" ".join(f" {text} ".lower().split()).encode() + b" ", dtype=np.uint8).astype(np.uint32)
        if len(letters) <= _GRAM:
            continue
        count = len(letters) - _GRAM + 1
        grams = sum(letters[at : at + count] << np.uint32(8 * at) for at in range(_GRAM))
        places = np.bincount((np.asarray(grams) * _SPREAD) >> np.uint32(21), minlength=DIMENSIONS)
        vector = np.log1p(places, dtype=np.float32)
        vectors[row] = vector / np.linalg.norm(vector)
    return vectors


def loaded(named: str) -> Embed:
    """The function that `package.module:function` names; ValueError says what is wrong with it.

    It takes a list of texts and answers one row of numbers each: any model's embeddings, of any length.
    """
    module, _, function = named.partition(":")
    try:
        found = getattr(import_module(module), function)
        answer = np.asarray(found(["one", "two"]), dtype=np.float32)
    except Exception as reason:
        raise ValueError(f"embedder {named!r} cannot be used: {reason}") from None
    if answer.ndim != 2 or len(answer) != 2:
        raise ValueError(f"embedder {named!r} must answer one row a text, got an array of shape {answer.shape}")
    return lambda texts: np.asarray(found(list(texts)), dtype=np.float32)


def distances(goal: Vectors, texts: Vectors) -> npt.NDArray[np.float64]:
    """1 - cosine of each row of `texts` to the one row of `goal`, from 0 to 1; NaN for a text without any direction."""
    norms = np.linalg.norm(texts, axis=1) * np.linalg.norm(goal)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.clip(1 - (texts @ goal.reshape(-1)) / norms, 0.0, 1.0), dtype=np.float64)
