"""Learning rate schedules with PyTorch's names and rates; a warm-up is LinearLR in SequentialLR."""

from gradengine.optim.lr_scheduler.base import LambdaLR as LambdaLR
from gradengine.optim.lr_scheduler.base import LRScheduler as LRScheduler
from gradengine.optim.lr_scheduler.base import MultiplicativeLR as MultiplicativeLR
from gradengine.optim.lr_scheduler.compose import ChainedScheduler as ChainedScheduler
from gradengine.optim.lr_scheduler.compose import ReduceLROnPlateau as ReduceLROnPlateau
from gradengine.optim.lr_scheduler.compose import SequentialLR as SequentialLR
from gradengine.optim.lr_scheduler.cyclic import (
    CosineAnnealingWarmRestarts as CosineAnnealingWarmRestarts,
)
from gradengine.optim.lr_scheduler.cyclic import CyclicLR as CyclicLR
from gradengine.optim.lr_scheduler.cyclic import OneCycleLR as OneCycleLR
from gradengine.optim.lr_scheduler.decay import ConstantLR as ConstantLR
from gradengine.optim.lr_scheduler.decay import CosineAnnealingLR as CosineAnnealingLR
from gradengine.optim.lr_scheduler.decay import ExponentialLR as ExponentialLR
from gradengine.optim.lr_scheduler.decay import LinearLR as LinearLR
from gradengine.optim.lr_scheduler.decay import MultiStepLR as MultiStepLR
from gradengine.optim.lr_scheduler.decay import PolynomialLR as PolynomialLR
from gradengine.optim.lr_scheduler.decay import StepLR as StepLR
