"""Normalisation layers and functions: every constructor option, both modes."""

from __future__ import annotations

import numpy as np

from .case import array, function, layer, uniform

ROW = (4, 3)
SMALL = np.linspace(0.5, 1.5, 3)


def batch_norms() -> list:
    cases = []
    shapes = {"1d": [(4, 3)], "2d": [(3, 2, 2, 2)], "3d": [(2, 2, 1, 2, 2)]}
    for rank, inputs in shapes.items():
        name, channels = f"BatchNorm{rank}", inputs[0][1]
        for mode in ("train", "eval"):
            cases.append(layer(name, channels, inputs=inputs, mode=mode, id=mode))
    options = {
        "places": {},
        "eps": {"eps": 0.1},
        "momentum": {"momentum": 0.3},
        "cumulative": {"momentum": None},
        "plain": {"affine": False},
        "no-bias": {"bias": False},
        "no-running": {"track_running_stats": False},
    }
    for id, given in options.items():
        for mode in ("train", "eval"):
            cases.append(
                layer("BatchNorm1d", 2, inputs=[(3, 2, 2)], mode=mode, id=f"{id}-{mode}", **given)
            )
    return cases


def instance_norms() -> list:
    cases = [
        layer("InstanceNorm1d", 2, inputs=[(2, 2, 3)]),
        layer("InstanceNorm1d", 2, inputs=[(2, 3)], id="unbatched"),
        layer("InstanceNorm2d", 2, inputs=[(2, 2, 2, 2)]),
        layer("InstanceNorm2d", 2, inputs=[(2, 2, 2)], id="unbatched"),
        layer("InstanceNorm3d", 2, inputs=[(1, 2, 1, 2, 2)]),
        layer("InstanceNorm3d", 2, inputs=[(2, 1, 2, 2)], id="unbatched"),
        layer("InstanceNorm2d", 2, eps=0.1, affine=True, inputs=[(2, 2, 2, 2)], id="affine"),
        layer("InstanceNorm1d", 2, affine=True, bias=False, inputs=[(2, 2, 3)], id="no-bias"),
    ]
    for mode in ("train", "eval"):
        for given in ({}, {"momentum": 0.4}):
            id = "-".join(["running", mode, *given])
            cases.append(
                layer(
                    "InstanceNorm1d",
                    2,
                    affine=True,
                    track_running_stats=True,
                    mode=mode,
                    id=id,
                    inputs=[(3, 2, 3)],
                    **given,
                )
            )
    return cases


CASES = [
    *batch_norms(),
    *instance_norms(),
    layer("LayerNorm", 3, inputs=[ROW]),
    layer("LayerNorm", (2, 3), inputs=[(2, 2, 3)], id="two-axes"),
    layer("LayerNorm", 3, eps=0.1, inputs=[(3,)], id="vector"),
    layer("LayerNorm", 3, elementwise_affine=False, inputs=[ROW], id="plain"),
    layer("LayerNorm", 3, bias=False, inputs=[ROW], id="no-bias"),
    layer("GroupNorm", 2, 4, inputs=[(2, 4, 3)]),
    layer("GroupNorm", 1, 4, inputs=[(2, 4)], id="one-group"),
    layer("GroupNorm", 4, 4, eps=0.1, inputs=[(2, 4, 2, 1)], id="eps"),
    layer("GroupNorm", 2, 4, bias=False, inputs=[(2, 4, 2)], id="no-bias"),
    layer("GroupNorm", 2, 4, affine=False, inputs=[(2, 4, 2)], id="plain"),
    layer("RMSNorm", 3, inputs=[ROW]),
    layer("RMSNorm", (2, 3), eps=0.1, inputs=[(2, 2, 3)], id="two-axes"),
    layer("RMSNorm", 3, elementwise_affine=False, inputs=[ROW], id="plain"),
    layer("LocalResponseNorm", 2, inputs=[(2, 4, 3)]),
    layer("LocalResponseNorm", 3, alpha=0.5, beta=0.6, k=2.0, inputs=[(2, 4, 2, 2)], id="options"),
    layer("LocalResponseNorm", 5, alpha=0.5, inputs=[(1, 3, 2)], id="wider"),
    function("layer_norm", (3,), inputs=[ROW]),
    function("layer_norm", (3,), array(SMALL)(None), array(SMALL)(None), 0.1, inputs=[ROW], id="w"),
    function("rms_norm", (3,), inputs=[ROW]),
    function("rms_norm", (2, 3), eps=0.1, inputs=[(2, 2, 3)], id="two-axes"),
    function("group_norm", 2, inputs=[(2, 4, 2)]),
    function("group_norm", 1, SMALL, SMALL, 0.1, inputs=[(2, 3, 2)], id="affine"),
    function("batch_norm", SMALL, SMALL, inputs=[ROW]),
    function("batch_norm", SMALL, SMALL, SMALL, SMALL, False, 0.1, 0.2, inputs=[ROW], id="affine"),
    function("batch_norm", None, None, training=True, inputs=[ROW], id="train"),
    function("instance_norm", inputs=[(2, 3, 2)]),
    function("instance_norm", SMALL, SMALL, None, None, False, inputs=[(2, 3, 2)], id="running"),
    function("local_response_norm", 2, 0.5, 0.7, 1.5, inputs=[(2, 4, 2)]),
    function("normalize", inputs=[ROW]),
    function("normalize", p=3.0, dim=-1, inputs=[ROW], id="p3"),
    function("normalize", p=1.0, dim=0, eps=0.1, inputs=[uniform(0.5, 2, ROW)], id="p1"),
]
