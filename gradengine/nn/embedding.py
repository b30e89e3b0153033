"""Tables of vectors, one for each token, class or id: Embedding, EmbeddingBag.

Floor 6: stands on functional/embedding.py and module.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

from gradengine import creation
from gradengine.errors import OutOfRangeError, ShapeError, hinted
from gradengine.modes import no_grad
from gradengine.nn import init
from gradengine.nn.functional.embedding import embedding, embedding_bag
from gradengine.nn.linear import check_sizes
from gradengine.nn.module import Module, Parameter
from gradengine.random import Generator
from gradengine.tensor import Tensor


class _Table(Module):
    """What both share: the weight, its options, and how they print."""

    weight: Parameter
    padding_idx: int | None
    __init__: Callable[..., None]
    shown: ClassVar[tuple[tuple[str, Any], ...]]  # options, and the value that is not printed

    def _make(self, shape: tuple[int, int], padding_idx: int | None, options: Any) -> None:
        name = type(self).__name__
        check_sizes(name, num_embeddings=shape[0], embedding_dim=shape[1])
        self.num_embeddings, self.embedding_dim = shape
        if padding_idx is not None:
            if not -shape[0] <= padding_idx < shape[0]:
                text = f"{name}: padding_idx {padding_idx} in a table of {shape[0]} rows"
                raise OutOfRangeError(hinted(text, f"it must lie in [{-shape[0]}, {shape[0] - 1}]"))
            padding_idx %= shape[0]
        self.padding_idx = padding_idx
        generator = options.pop("generator")
        self.weight = Parameter(creation.empty(shape, **options))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw the table anew from N(0, 1); the row `padding_idx` is 0."""
        init.normal_(self.weight, generator=generator)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, **options: Any) -> Self:
        """A layer with the given table (rows, width), which is not learned if `freeze`.

        >>> Embedding.from_pretrained([[1.0, 2.0], [3.0, 4.0]])([1])
        tensor([[3., 4.]])
        """
        table = Tensor.lift(embeddings)
        if table.ndim != 2:
            text = f"{cls.__name__}.from_pretrained: a table of shape {table.shape}"
            raise ShapeError(hinted(text, "give (rows, width)"))
        made = cls(*table.shape, dtype=table.dtype, device=table.device, **options)
        made.weight = Parameter(table, requires_grad=not freeze)
        return made

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        for name, silent in self.shown:
            value = getattr(self, name)
            if value != silent:
                text += f", {name}={value!r}"
        return text


class Embedding(_Table):
    """y[...] = weight[x[...]]: a row of the table for each index; see functional.embedding.

    Shapes: x (...) integers, weight (num_embeddings, embedding_dim), y (..., embedding_dim). The
    table is drawn from N(0, 1); the row `padding_idx` is 0 and stays what it is.

    >>> layer = Embedding(10, 3)
    >>> layer([[1, 2, 4, 5], [4, 3, 2, 9]]).shape
    (2, 4, 3)
    """

    shown = (
        ("padding_idx", None),
        ("max_norm", None),
        ("norm_type", 2.0),
        ("scale_grad_by_freq", False),
        ("sparse", False),
    )

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        options = {"device": device, "dtype": dtype, "generator": generator}
        self._make((num_embeddings, embedding_dim), padding_idx, options)

    def forward(self, input: Any) -> Tensor:
        return embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )


class EmbeddingBag(_Table):
    """Rows of a table, reduced over bags of indices; see functional.embedding_bag.

    Shapes: x (bags, n), or (n,) with offsets (bags,); y (bags, embedding_dim). The table is drawn
    from N(0, 1).

    >>> layer = EmbeddingBag(10, 3, mode="sum")
    >>> layer([1, 2, 4, 5, 4, 3, 2, 9], offsets=[0, 4]).shape
    (2, 3)
    """

    shown = (
        ("max_norm", None),
        ("norm_type", 2.0),
        ("scale_grad_by_freq", False),
        ("mode", None),
        ("padding_idx", None),
    )

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.mode, self.sparse = scale_grad_by_freq, mode, sparse
        self.include_last_offset = include_last_offset
        options = {"device": device, "dtype": dtype, "generator": generator}
        self._make((num_embeddings, embedding_dim), padding_idx, options)

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Tensor:
        return embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )
