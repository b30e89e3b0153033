"""Padding in every mode, as layers and as `pad`."""

from agreement.case import function, layer

CASES = [
    *(
        layer(f"{kind}Pad{n}d", padding, inputs=[(*lead, *(4, 3, 5)[:n])], id=f"{padding}")
        for kind in ("Zero", "Reflection", "Replication", "Circular")
        for n in (1, 2, 3)
        for padding, lead in ((2, (2, 2)), ((1, 2, 0, 1, 2, 1)[: 2 * n], (2,)))
    ),
    *(
        layer(f"ConstantPad{n}d", (1, 2, 0, 1, 2, 1)[: 2 * n], 3.5, inputs=[(2, 2, 4, 3, 5)])
        for n in (1, 2, 3)
    ),
    layer("ConstantPad2d", (1, -1, -2, 3), -1.0, inputs=[(2, 4, 5)], id="cut"),
    layer("ZeroPad2d", -1, inputs=[(2, 4, 5)], id="cut"),
    function("pad", (1, 2, 0, 3), inputs=[(3, 4)]),
    function("pad", (1, -2), inputs=[(2, 3, 4)], value=2.0, id="cut"),
    function("pad", (1, 2), inputs=[(2, 3, 4)], mode="reflect", id="reflect"),
    function("pad", (1, 2, 3, 4), inputs=[(1, 2, 3, 4)], mode="replicate", id="replicate"),
    function("pad", (1, 2, 3, 0), inputs=[(1, 2, 3, 4)], mode="circular", id="circular"),
]
