"""Losses of pairs, triplets and ranked classes, distances, and the adaptive softmax."""

from __future__ import annotations

import numpy as np

from .case import array, function, ints, layer

REDUCTIONS = ("none", "mean", "sum")
SIGNS = array([1, -1, -1, 1, -1])
CLASSES = [(5, 4), ints(0, 4, (5,))]
WEIGHT = np.array([0.5, 2.0, 1.25, 1.0])
LISTS = array([[3, 0, -1, 1], [-1, 2, 2, 2], [0, 1, 2, 3], [2, 2, -1, -1], [1, -1, -1, -1]])
TRIPLET = [(5, 3)] * 3
VECTORS = [(5, 3), (5, 3)]

CASES = [
    *(
        case
        for how in REDUCTIONS
        for case in (
            layer("MarginRankingLoss", reduction=how, inputs=[(5,), (5,), SIGNS], id=how),
            layer("HingeEmbeddingLoss", reduction=how, inputs=[(5,), SIGNS], id=how),
            layer("CosineEmbeddingLoss", reduction=how, inputs=[*VECTORS, SIGNS], id=how),
            layer("MultiMarginLoss", reduction=how, inputs=CLASSES, id=how),
            layer("MultiLabelMarginLoss", reduction=how, inputs=[(5, 4), LISTS], id=how),
            layer("TripletMarginLoss", reduction=how, inputs=TRIPLET, id=how),
            layer("TripletMarginWithDistanceLoss", reduction=how, inputs=TRIPLET, id=how),
        )
    ),
    layer("MarginRankingLoss", 0.6, inputs=[(5, 2), (5, 2), array([[1, -1]])], id="margin"),
    layer("HingeEmbeddingLoss", 0.4, inputs=[(5,), SIGNS], id="margin"),
    layer("CosineEmbeddingLoss", 0.3, inputs=[*VECTORS, SIGNS], id="margin"),
    layer("CosineEmbeddingLoss", inputs=[(3,), (3,), array(-1)], id="unbatched"),
    layer("MultiMarginLoss", p=2, margin=0.7, weight=WEIGHT, inputs=CLASSES, id="squared"),
    layer("MultiMarginLoss", weight=WEIGHT, reduction="none", inputs=CLASSES, id="weight"),
    layer("MultiMarginLoss", inputs=[(4,), ints(0, 4, ())], id="unbatched"),
    layer("MultiLabelMarginLoss", inputs=[(4,), array([3, 0, -1, 1])], id="unbatched"),
    layer("TripletMarginLoss", margin=0.5, p=3.0, eps=1e-3, swap=True, inputs=TRIPLET, id="swap"),
    layer("TripletMarginLoss", p=1.0, inputs=TRIPLET, id="p1"),
    layer("TripletMarginLoss", inputs=[(3,)] * 3, id="unbatched"),
    layer("TripletMarginWithDistanceLoss", margin=0.5, swap=True, inputs=TRIPLET, id="swap"),
    layer("AdaptiveLogSoftmaxWithLoss", 8, 12, cutoffs=[4, 7], div_value=2.0,
          inputs=[(6, 8), array([0, 3, 5, 11, 7, 5])]),
    layer("AdaptiveLogSoftmaxWithLoss", 8, 12, cutoffs=[4], head_bias=True,
          inputs=[(3, 8), array([0, 3, 1])], id="head"),
    layer("AdaptiveLogSoftmaxWithLoss", 8, 12, cutoffs=[4, 7], div_value=2.0,
          inputs=[(8,), array(9)], id="unbatched"),
    layer("CosineSimilarity", inputs=VECTORS),
    layer("CosineSimilarity", dim=0, eps=1e-3, inputs=[(4, 3), (4, 3)], id="dim"),
    layer("PairwiseDistance", inputs=VECTORS),
    layer("PairwiseDistance", p=1.0, keepdim=True, inputs=VECTORS, id="keepdim"),
    layer("PairwiseDistance", p=float("inf"), eps=0.1, inputs=VECTORS, id="inf"),
    layer("PairwiseDistance", inputs=[(3,), (3,)], id="unbatched"),
    # functions
    function("cosine_similarity", dim=-1, inputs=[(2, 1, 3), (4, 3)], id="broadcast"),
    function("pairwise_distance", p=3.0, inputs=[(5, 3), (1, 3)], id="broadcast"),
    function("pdist", inputs=[(4, 3)]),
    function("pdist", p=1.0, inputs=[(4, 3)], id="p1"),
    function("margin_ranking_loss", margin=0.6, inputs=[(5,), (5,), SIGNS]),
    function("hinge_embedding_loss", margin=0.4, inputs=[(5,), SIGNS]),
    function("cosine_embedding_loss", margin=0.3, inputs=[*VECTORS, SIGNS]),
    function("multi_margin_loss", p=2, weight=WEIGHT, inputs=CLASSES),
    function("multilabel_margin_loss", inputs=[(5, 4), LISTS]),
    function("triplet_margin_loss", swap=True, inputs=TRIPLET),
    function("triplet_margin_with_distance_loss", swap=True, inputs=TRIPLET),
]  # fmt: skip
