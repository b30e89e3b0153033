"""Embedding and EmbeddingBag.

`order=0` where the gradient is not the derivative, on purpose and in both libraries: a gradient
divided by frequencies, and rows that are scaled down while they are read. A row that gets no
gradient (`padding_idx`) is not read where derivatives are checked (`small`).
"""

import numpy as np

from agreement.case import array, function, ints, layer

TOKENS = [ints(0, 7, (2, 4))]
FLAT = [ints(0, 7, (9,)), array([0, 4, 4, 7])]
PADDED, UNPADDED = [array([[1, 3, 0], [1, 1, 2]])], [array([[6, 3, 0], [4, 4, 2]])]
PADDED_BAGS = [array([1, 3, 1, 0, 2]), array([0, 2, 3])]
WEIGHTS = np.linspace(-1.0, 2.0, 9)

CASES = [
    layer("Embedding", 7, 3, inputs=TOKENS),
    layer("Embedding", 7, 3, inputs=[ints(0, 7, (5,))], id="unbatched"),
    layer("Embedding", 7, 3, inputs=[ints(0, 7, ())], id="one index"),
    layer("Embedding", 7, 3, inputs=[ints(0, 7, (0,))], id="empty", order=1),
    layer("Embedding", 7, 3, padding_idx=1, inputs=PADDED, small=UNPADDED, id="padding"),
    layer("Embedding", 7, 3, padding_idx=-6, inputs=PADDED, small=UNPADDED, id="negative padding"),
    layer("Embedding", 7, 3, max_norm=0.7, inputs=TOKENS, order=0, id="max_norm"),
    layer("Embedding", 7, 3, max_norm=0.7, norm_type=1.0, inputs=TOKENS, order=0, id="norm 1"),
    layer("Embedding", 7, 3, max_norm=90.0, inputs=TOKENS, id="max_norm not reached"),
    layer("Embedding", 7, 3, scale_grad_by_freq=True, inputs=TOKENS, order=0, id="frequency"),
    layer(
        "Embedding", 7, 3, padding_idx=1, scale_grad_by_freq=True, inputs=PADDED, order=0, id="both"
    ),
    function("embedding", inputs=[ints(0, 4, (2, 3)), (4, 2)]),
    function("one_hot", inputs=[ints(0, 4, (2, 3))], order=0),  # has no derivative
    function("one_hot", 6, inputs=[ints(0, 4, (2, 3))], id="wide", order=0),
]


def bag(mode, *, inputs, max_norm=None, norm_type=2.0, **options):
    """A case of EmbeddingBag; its `mode` goes by position, since the driver has one of its own.

    `scale_grad_by_freq` is compared in test_nn_embedding.py: PyTorch's counts are wrong there.
    """
    return layer("EmbeddingBag", 7, 3, max_norm, norm_type, False, mode, inputs=inputs, **options)


CLOSED = [ints(0, 7, (9,)), array([0, 4, 4, 9])]

for mode in ("sum", "mean", "max"):
    CASES += [
        bag(mode, inputs=TOKENS, id=mode),
        bag(mode, inputs=FLAT, id=f"{mode} with offsets"),
        bag(mode, inputs=CLOSED, include_last_offset=True, id=f"{mode} with the last offset"),
        bag(mode, inputs=PADDED, padding_idx=1, id=f"{mode} padded"),
        bag(mode, inputs=PADDED_BAGS, padding_idx=1, id=f"{mode} padded with offsets"),
        bag(mode, inputs=FLAT, max_norm=0.7, order=0, id=f"{mode} max_norm"),
    ]
CASES += [
    layer("EmbeddingBag", 7, 3, inputs=TOKENS, id="default"),
    bag("sum", inputs=FLAT, call={"per_sample_weights": WEIGHTS}, id="weighted"),
    bag(
        "sum",
        inputs=TOKENS,
        call={"per_sample_weights": WEIGHTS[:8].reshape(2, 4)},
        id="weighted rows",
    ),
    bag("max", inputs=TOKENS, max_norm=0.7, norm_type=1.0, order=0, id="max norm 1"),
]
