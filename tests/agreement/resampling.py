"""Interpolation in every mode, larger and smaller, by size and by factor."""

from agreement.case import function, layer

SHAPES = {1: (2, 2, 5), 2: (1, 2, 4, 5), 3: (1, 1, 3, 2, 4)}
AXES = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
SIZES = {"larger": (7, 9, 5), "smaller": (3, 2, 2), "one": (1, 1, 1), "same": (4, 5, 5)}

CASES = [
    *(
        function("interpolate", inputs=[SHAPES[n]], size=size[:n], mode=mode, id=f"{mode} {n} {id}")
        for mode in ("nearest", "nearest-exact", "area")
        for n in (1, 2, 3)
        for id, size in SIZES.items()
        if id != "one"
    ),
    *(
        function("interpolate", inputs=[SHAPES[n]], scale_factor=factor, mode=mode,
                 recompute_scale_factor=again, id=f"{mode} {n} by {factor} {again}")
        for mode in ("nearest", "nearest-exact", "area")
        for n in (1, 2)
        for factor in (1.7, 0.6)
        for again in (None, True)
    ),
    *(
        function("interpolate", inputs=[SHAPES[n]], size=size[:n], mode=mode,
                 align_corners=corners, id=f"{mode} {id} {corners}")
        for mode, n in AXES.items()
        for id, size in SIZES.items()
        for corners in (None, True)
    ),
    *(
        function("interpolate", inputs=[SHAPES[n]], scale_factor=factor, mode=mode,
                 recompute_scale_factor=again, id=f"{mode} by {factor} {again}")
        for mode, n in AXES.items()
        for factor in (1.7, 0.6)
        for again in (None, True)
    ),
    *(
        function("interpolate", inputs=[(1, 2, 7, 8)], size=size, mode=mode, antialias=True,
                 align_corners=corners, id=f"{mode} antialias {size} {corners}")
        for mode in ("bilinear", "bicubic")
        for size in ((3, 2), (9, 4))
        for corners in (False, True)
    ),
    function("interpolate", inputs=[(1, 1, 7, 8)], scale_factor=(0.4, 1.3), mode="bicubic",
             antialias=True, id="bicubic antialias by factors"),
    layer("Upsample", inputs=[(1, 2, 3, 4)], scale_factor=2),
    layer("Upsample", (5, 7), None, "bicubic", True, inputs=[(1, 2, 3, 4)], id="size"),
    layer("Upsample", None, (1.5, 2, 1), "trilinear", inputs=[(1, 1, 3, 2, 2)], id="factors",
          recompute_scale_factor=True),
    layer("UpsamplingNearest2d", inputs=[(1, 2, 3, 4)], scale_factor=2),
    layer("UpsamplingNearest2d", (5, 6), inputs=[(1, 2, 3, 4)], id="size"),
    layer("UpsamplingBilinear2d", inputs=[(1, 2, 3, 4)], scale_factor=2),
    layer("UpsamplingBilinear2d", 5, inputs=[(1, 2, 3, 4)], id="size"),
]  # fmt: skip
