"""Every optimiser of PyTorch's, with every option at least once: 30-step trajectories."""

from __future__ import annotations

from agreement.case import optimiser

CASES = [
    optimiser("SGD", lr=0.1),
    optimiser("SGD", lr=0.02, momentum=0.9, id="momentum"),
    optimiser("SGD", lr=0.02, momentum=0.9, dampening=0.3, id="dampening"),
    optimiser("SGD", lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.1, id="nesterov"),
    optimiser("SGD", lr=1e-3, momentum=0.5, maximize=True, weight_decay=0.1, id="maximize"),
    optimiser("Adagrad", lr=0.1),
    optimiser(
        "Adagrad", lr=0.1, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.5,
        eps=1e-3, id="options",
    ),
    optimiser("Adagrad", lr=0.01, maximize=True, id="maximize"),
    optimiser("Adadelta"),
    optimiser("Adadelta", lr=0.5, rho=0.7, eps=1e-3, weight_decay=0.1, id="options"),
    optimiser("Adadelta", maximize=True, id="maximize"),
    optimiser("RMSprop", lr=0.05),
    optimiser("RMSprop", lr=0.05, centered=True, momentum=0.9, id="centered-momentum"),
    optimiser("RMSprop", lr=0.05, centered=True, alpha=0.5, id="centered"),
    optimiser("RMSprop", lr=0.05, momentum=0.9, weight_decay=0.1, eps=1e-3, id="momentum"),
    optimiser("RMSprop", lr=0.01, maximize=True, id="maximize"),
    optimiser("Adam", lr=0.05),
    optimiser("Adam", lr=0.05, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.1, id="options"),
    optimiser("Adam", lr=0.05, amsgrad=True, betas=(0.9, 0.5), id="amsgrad"),
    optimiser("Adam", lr=0.05, weight_decay=0.3, decoupled_weight_decay=True, id="decoupled"),
    optimiser("Adam", lr=0.05, maximize=True, id="maximize"),
    optimiser("AdamW", lr=0.05),
    optimiser("AdamW", lr=0.05, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.3, id="options"),
    optimiser("AdamW", lr=0.05, amsgrad=True, maximize=True, id="amsgrad-maximize"),
    optimiser("Adamax", lr=0.05),
    optimiser("Adamax", lr=0.05, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.1, id="options"),
    optimiser("Adamax", lr=0.05, maximize=True, id="maximize"),
    optimiser("NAdam", lr=0.05),
    optimiser(
        "NAdam", lr=0.05, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.1, momentum_decay=0.1,
        id="options",
    ),
    optimiser("NAdam", lr=0.05, weight_decay=0.3, decoupled_weight_decay=True, id="decoupled"),
    optimiser("NAdam", lr=0.05, maximize=True, id="maximize"),
    optimiser("RAdam", lr=0.05),
    optimiser("RAdam", lr=0.05, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.1, id="options"),
    optimiser("RAdam", lr=0.05, weight_decay=0.3, decoupled_weight_decay=True, id="decoupled"),
    optimiser("RAdam", lr=0.05, maximize=True, id="maximize"),
    # PyTorch keeps ASGD's step size in float32; tests/test_optim.py compares it in float64
    optimiser("ASGD", lr=0.05, tolerance=1e-7),
    optimiser(
        "ASGD", lr=0.05, lambd=0.1, alpha=0.5, t0=5, weight_decay=0.1, tolerance=1e-7,
        id="options",
    ),
    optimiser("ASGD", lr=1e-3, t0=0, maximize=True, tolerance=1e-7, id="maximize"),
    optimiser("Rprop", lr=0.05),
    optimiser("Rprop", lr=0.05, etas=(0.3, 1.5), step_sizes=(1e-2, 0.2), id="options"),
    optimiser("Rprop", lr=0.01, maximize=True, id="maximize"),
    optimiser("LBFGS", lr=0.1, max_iter=3),
    optimiser("LBFGS", lr=0.5, max_iter=4, max_eval=3, history_size=2, id="short-history"),
    optimiser("LBFGS", max_iter=3, line_search_fn="strong_wolfe", id="strong-wolfe"),
    optimiser(
        "LBFGS", max_iter=3, tolerance_grad=1e-3, tolerance_change=1e-4,
        line_search_fn="strong_wolfe", id="tolerances",
    ),
]  # fmt: skip
