"""Optimisers with PyTorch's names, each one pure rule of rules/ lifted over parameters."""

from gradengine.optim import lr_scheduler as lr_scheduler
from gradengine.optim import rules as rules
from gradengine.optim.adaptive import Adadelta as Adadelta
from gradengine.optim.adaptive import Adagrad as Adagrad
from gradengine.optim.adaptive import RMSprop as RMSprop
from gradengine.optim.descent import ASGD as ASGD
from gradengine.optim.descent import SGD as SGD
from gradengine.optim.descent import Lion as Lion
from gradengine.optim.descent import Rprop as Rprop
from gradengine.optim.lbfgs import LBFGS as LBFGS
from gradengine.optim.moments import LAMB as LAMB
from gradengine.optim.moments import Adam as Adam
from gradengine.optim.moments import Adamax as Adamax
from gradengine.optim.moments import AdamW as AdamW
from gradengine.optim.moments import NAdam as NAdam
from gradengine.optim.moments import RAdam as RAdam
from gradengine.optim.optimizer import Optimizer as Optimizer
from gradengine.optim.swa import SWALR as SWALR
from gradengine.optim.swa import ExponentialMovingAverage as ExponentialMovingAverage
from gradengine.optim.swa import StochasticWeightAverage as StochasticWeightAverage
