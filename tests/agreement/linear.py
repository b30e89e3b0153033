"""Identity, Linear, Bilinear, Flatten, Unflatten, and the functions below them."""

from agreement.case import function, layer

CASES = [
    layer("Identity", inputs=[(2, 3)]),
    layer("Linear", 4, 3, inputs=[(5, 4)]),
    layer("Linear", 4, 3, inputs=[(4,)], id="unbatched"),
    layer("Linear", 4, 3, inputs=[(2, 3, 4)], id="batches"),
    layer("Linear", 4, 3, inputs=[(0, 4)], id="empty", order=1),  # nothing left to differentiate
    layer("Linear", 4, 3, bias=False, inputs=[(5, 4)], id="no bias"),
    layer("Bilinear", 3, 4, 2, inputs=[(5, 3), (5, 4)]),
    layer("Bilinear", 3, 4, 2, inputs=[(3,), (4,)], id="unbatched"),
    layer("Bilinear", 3, 4, 2, inputs=[(2, 3, 3), (2, 3, 4)], id="batches"),
    layer("Bilinear", 3, 4, 2, bias=False, inputs=[(5, 3), (5, 4)], id="no bias"),
    layer("Flatten", inputs=[(2, 3, 4)]),
    layer("Flatten", 0, 1, inputs=[(2, 3, 4)], id="front"),
    layer("Flatten", start_dim=-2, end_dim=-2, inputs=[(2, 3, 4)], id="one axis"),
    layer("Flatten", 0, inputs=[()], id="scalar"),
    layer("Unflatten", 1, (2, 3), inputs=[(4, 6)]),
    layer("Unflatten", -1, (3, -1, 1), inputs=[(2, 6)], id="free"),
    layer("Unflatten", 0, (2, 2), inputs=[(4, 3)], id="first axis"),
    function("linear", inputs=[(5, 4), (3, 4), (3,)]),
    function("linear", inputs=[(5, 4), (3, 4)], id="no bias"),
    function("linear", inputs=[(2, 4), (4,)], id="vector"),
    function("bilinear", inputs=[(5, 3), (5, 4), (2, 3, 4), (2,)]),
    function("bilinear", inputs=[(5, 3), (5, 4), (2, 3, 4)], id="no bias"),
]
