"""Recurrent layers and cells: every constructor option, batched and not, states given or not.

Where layers and directions come together (more than 16 parameters) only the first order is checked
here, for the time it takes: their parts are checked to the second.
"""

from __future__ import annotations

from .case import layer

X = (3, 2, 2)  # steps, batch, features
KINDS = ("RNN", "LSTM", "GRU")


def layers(kind: str) -> list:
    return [
        layer(kind, 2, 3, inputs=[X]),
        layer(kind, 2, 2, inputs=[(3, 2)], id="unbatched"),
        layer(kind, 2, 2, batch_first=True, inputs=[(2, 3, 2)], id="batch-first"),
        layer(kind, 2, 2, bias=False, inputs=[X], id="no-bias"),
        layer(
            kind, 2, 2, num_layers=2, dropout=0.5, mode="eval", inputs=[(2, 2, 2)], id="two-layers"
        ),
        layer(kind, 2, 2, bidirectional=True, inputs=[(2, 2, 2)], id="bidirectional"),
        layer(kind, 1, 2, num_layers=2, bidirectional=True, inputs=[(2, 2, 1)], id="both", order=1),
    ]


CASES = [
    *(case for kind in KINDS for case in layers(kind)),
    layer("RNN", 2, 2, 1, "relu", inputs=[X], id="relu"),
    layer("RNN", 2, 2, inputs=[X, (1, 2, 2)], id="state"),
    layer("GRU", 2, 2, bidirectional=True, inputs=[X, (2, 2, 2)], id="state"),
    layer("GRU", 2, 2, inputs=[(3, 2), (1, 2)], id="unbatched-state"),
    layer("LSTM", 2, 3, proj_size=2, inputs=[X], id="projected"),
    layer(
        "LSTM",
        2,
        3,
        num_layers=2,
        proj_size=1,
        bidirectional=True,
        inputs=[(2, 2, 2)],
        id="projected-both",
    ),
    *(layer(f"{kind}Cell", 2, 3, inputs=[(2, 2)]) for kind in KINDS),
    *(layer(f"{kind}Cell", 2, 3, inputs=[(2,)], id="unbatched") for kind in KINDS),
    *(layer(f"{kind}Cell", 2, 3, bias=False, inputs=[(2, 2)], id="no-bias") for kind in KINDS),
    *(layer(f"{kind}Cell", 2, 3, inputs=[(2, 2), (2, 3)], id="state") for kind in ("RNN", "GRU")),
    layer("RNNCell", 2, 3, nonlinearity="relu", inputs=[(2, 2)], id="relu"),
]
