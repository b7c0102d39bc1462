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
_TEXTS_AT_ONCE, _LETTERS_AT_ONCE = 64, 65_536  # what is counted together stays in the processor's cache


def lexical(texts: Sequence[str]) -> Vectors:
    """One row a text: 1 + log of how often each 4-gram of its lower-case UTF-8 occurs, to length 1; zeros if too short.

    Feature hashing (Weinberger et al., 2009) of character n-grams (Cavnar and Trenkle, 1994).
    """
    vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
    rows: list[int] = []
    waiting: list[bytes] = []
    letters = 0
    for row, text in enumerate(texts):
        spelled = (" ".join(text.lower().split()) + " ").encode()
        if len(spelled) <= _GRAM:
            continue
        if rows and (len(rows) == _TEXTS_AT_ONCE or letters + len(spelled) > _LETTERS_AT_ONCE):
            vectors[rows] = _vectors(waiting)
            rows, waiting, letters = [], [], 0
        rows.append(row)
        waiting.append(spelled)
        letters += len(spelled)
    if rows:
        vectors[rows] = _vectors(waiting)
    return vectors


def _vectors(texts: Sequence[bytes]) -> Vectors:
    letters = np.frombuffer(b"".join(texts), dtype=np.uint8).astype(np.uint32)
    of_text = np.repeat(np.arange(len(texts), dtype=np.uint32), [len(text) for text in texts])
    count = len(letters) - _GRAM + 1
    grams = letters[:count].copy()
    for at in range(1, _GRAM):
        grams |= letters[at : at + count] << np.uint32(8 * at)
    places = (grams * _SPREAD) >> np.uint32(21)
    places |= of_text[:count] * np.uint32(DIMENSIONS)
    within = of_text[:count] == of_text[_GRAM - 1 :]  # not a gram of two texts
    ordered = np.sort(places[within])
    begins = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    there = ordered[begins]
    vectors = np.zeros(len(texts) * DIMENSIONS, dtype=np.float32)
    values = np.log1p(np.diff(begins, append=len(ordered)), dtype=np.float32)
    vectors[there] = values
    rows = vectors.reshape(len(texts), DIMENSIONS)
    vectors[there] = values / np.sqrt(_dots(rows, rows))[there // DIMENSIONS]
    return rows


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


def distances(goals: Vectors, texts: Vectors, of_goal: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float64]:
    """1 - cosine of each row of `texts` to the one row of `goals`, or to the row that `of_goal` says; from 0 to 1, NaN
    for a text without any direction."""
    towards = goals.reshape(-1, texts.shape[1])
    which = np.zeros(len(texts), dtype=np.int64) if of_goal is None else of_goal
    norms = np.linalg.norm(texts, axis=1) * np.sqrt(_dots(towards, towards))[which]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.clip(1 - _dots(texts, towards[which]) / norms, 0.0, 1.0), dtype=np.float64)


def _dots(one: Vectors, other: Vectors) -> Vectors:
    """The dot product of each row with the other's."""
    products: Vectors = np.matmul(one[:, None, :], other[:, :, None])
    return products[:, 0, 0]
