"""Losses of predictions and probabilities, with every option and every reduction."""

from __future__ import annotations

import numpy as np

from .case import array, function, ints, layer, uniform

REDUCTIONS = ("none", "mean", "sum")
PAIR = [(4, 3), (4, 3)]
PROBABILITIES = [uniform(0.05, 0.95, (4, 3)), uniform(0.05, 0.95, (4, 3))]
LOGITS = [(4, 3), uniform(0.0, 1.0, (4, 3))]
COUNTS = [(4, 3), uniform(0.5, 6.0, (4, 3))]
RATES = [uniform(0.5, 3.0, (4, 3)), uniform(0.5, 6.0, (4, 3))]
CLASSES = [(5, 3), ints(0, 3, (5,))]
PIXELS = [(2, 3, 2, 2), ints(0, 3, (2, 2, 2))]
SOFT = [(5, 3), uniform(0.0, 1.0, (5, 3))]
WEIGHT = np.array([0.5, 2.0, 1.25])
EACH = np.arange(12.0).reshape(4, 3) / 4  # a weight for each element of PAIR
SIGNS = array(np.where(np.arange(12).reshape(4, 3) % 3, 1, -1))
VARIANCE = uniform(0.2, 3.0, (4, 3))

_CASES = [
    *(
        case
        for how in REDUCTIONS
        for case in (
            layer("L1Loss", reduction=how, inputs=PAIR, id=how),
            layer("MSELoss", reduction=how, inputs=PAIR, id=how),
            layer("HuberLoss", reduction=how, delta=0.7, inputs=PAIR, id=how),
            layer("SmoothL1Loss", reduction=how, beta=0.7, inputs=PAIR, id=how),
            layer("PoissonNLLLoss", reduction=how, inputs=COUNTS, id=how),
            layer("GaussianNLLLoss", reduction=how, inputs=[*PAIR, VARIANCE], id=how),
            layer("CrossEntropyLoss", reduction=how, inputs=CLASSES, id=how),
            layer("NLLLoss", reduction=how, inputs=CLASSES, id=how),
            layer("BCELoss", reduction=how, inputs=PROBABILITIES, id=how),
            layer("BCEWithLogitsLoss", reduction=how, inputs=LOGITS, id=how),
            layer("SoftMarginLoss", reduction=how, inputs=[(4, 3), SIGNS], id=how),
            layer("MultiLabelSoftMarginLoss", reduction=how, inputs=LOGITS, id=how),
        )
    ),
    *(
        layer("KLDivLoss", reduction=how, inputs=[uniform(-3.0, -0.1, (4, 3)), VARIANCE], id=how)
        for how in ("none", "sum", "batchmean")
    ),
]

CASES = [
    *_CASES,
    layer("KLDivLoss", reduction="sum", log_target=True, inputs=PAIR, id="log_target"),
    layer("L1Loss", inputs=[(), ()], id="0-d"),
    layer("SmoothL1Loss", beta=0.0, inputs=PAIR, id="beta0"),
    layer("PoissonNLLLoss", full=True, inputs=COUNTS, id="full"),
    layer("PoissonNLLLoss", log_input=False, eps=1e-3, full=True, inputs=RATES, id="rates"),
    layer("GaussianNLLLoss", full=True, eps=0.01, inputs=[*PAIR, VARIANCE], id="full"),
    layer("GaussianNLLLoss", inputs=[*PAIR, uniform(0.2, 3.0, (4, 1))], id="rows"),
    layer("GaussianNLLLoss", inputs=[*PAIR, uniform(0.2, 3.0, (4,))], id="homoscedastic"),
    # below eps the derivative is the one PyTorch lets through, on purpose not the function's own
    layer("GaussianNLLLoss", eps=1.0, inputs=[*PAIR, uniform(0.2, 0.9, (4, 3))], id="eps", order=0),
    function("gaussian_nll_loss", 0.7, inputs=PAIR, id="number"),
    *(
        layer("CrossEntropyLoss", weight=WEIGHT, reduction=how, inputs=CLASSES, id=f"weight-{how}")
        for how in REDUCTIONS
    ),
    layer("CrossEntropyLoss", ignore_index=1, inputs=CLASSES, id="ignore"),
    layer("CrossEntropyLoss", weight=WEIGHT, ignore_index=1, inputs=CLASSES, id="weight-ignore"),
    *(
        layer("CrossEntropyLoss", WEIGHT, label_smoothing=0.2, ignore_index=1, reduction=how,
              inputs=CLASSES, id=f"smoothing-{how}")
        for how in REDUCTIONS
    ),
    layer("CrossEntropyLoss", inputs=PIXELS, id="pixels"),
    layer("CrossEntropyLoss", reduction="none", weight=WEIGHT, inputs=PIXELS, id="pixels-none"),
    layer("CrossEntropyLoss", inputs=[(3,), ints(0, 3, ())], id="unbatched"),
    layer("CrossEntropyLoss", inputs=SOFT, id="probabilities"),
    layer("CrossEntropyLoss", weight=WEIGHT, label_smoothing=0.2, inputs=SOFT, id="soft-weight"),
    layer("CrossEntropyLoss", reduction="none", inputs=[(2, 3, 4), uniform(0.0, 1.0, (2, 3, 4))],
          id="soft-pixels"),
    layer("NLLLoss", weight=WEIGHT, ignore_index=1, inputs=CLASSES, id="weight-ignore"),
    layer("NLLLoss", reduction="none", inputs=PIXELS, id="pixels"),
    layer("NLLLoss", inputs=[(3,), ints(0, 3, ())], id="unbatched"),
    layer("BCELoss", weight=WEIGHT, inputs=PROBABILITIES, id="weight"),
    layer("BCEWithLogitsLoss", weight=WEIGHT, pos_weight=WEIGHT, inputs=LOGITS, id="weights"),
    layer("BCEWithLogitsLoss", pos_weight=WEIGHT, reduction="none", inputs=LOGITS, id="pos_weight"),
    layer("MultiLabelSoftMarginLoss", weight=WEIGHT, inputs=LOGITS, id="weight"),
    layer("MultiLabelSoftMarginLoss", inputs=[(3,), uniform(0.0, 1.0, (3,))], id="unbatched"),
    layer("LinearCrossEntropyLoss", 4, 3, inputs=[(5, 4), ints(0, 3, (5,))]),
    layer("LinearCrossEntropyLoss", 4, 3, out_features=(2,), bias=True, weight=WEIGHT,
          reduction="none", ignore_index=1, label_smoothing=0.1,
          inputs=[(5, 4), ints(0, 3, (5, 2))], id="many"),
    layer("LinearCrossEntropyLoss", 4, 3, inputs=[(5, 4), uniform(0.0, 1.0, (5, 3))], id="soft"),
    layer("LinearCrossEntropyLoss", 4, 3, inputs=[(4,), ints(0, 3, ())], id="unbatched"),
    # functions
    function("linear_cross_entropy", inputs=[(5, 4), (3, 4), ints(0, 3, (5,))], reduction="sum"),
    function("l1_loss", inputs=PAIR),
    function("mse_loss", inputs=PAIR, reduction="sum"),
    function("huber_loss", inputs=PAIR, delta=0.7),
    function("smooth_l1_loss", inputs=PAIR, beta=0.7),
    *(
        function(name, inputs=PAIR, reduction=how, weight=EACH, id=f"weight-{how}")
        for name in ("l1_loss", "mse_loss", "huber_loss")
        for how in REDUCTIONS
    ),
    function("poisson_nll_loss", log_input=False, full=True, inputs=RATES),
    function("gaussian_nll_loss", inputs=[*PAIR, VARIANCE], full=True),
    function("kl_div", inputs=[uniform(-3.0, -0.1, (4, 3)), VARIANCE], reduction="batchmean"),
    function("cross_entropy", inputs=CLASSES, weight=WEIGHT, label_smoothing=0.1),
    function("nll_loss", inputs=CLASSES, weight=WEIGHT, ignore_index=2),
    function("binary_cross_entropy", inputs=PROBABILITIES, weight=WEIGHT),
    function("binary_cross_entropy_with_logits", inputs=LOGITS, pos_weight=WEIGHT),
    function("soft_margin_loss", inputs=[(4, 3), SIGNS]),
    function("multilabel_soft_margin_loss", inputs=LOGITS, weight=WEIGHT, reduction="none"),
]  # fmt: skip
