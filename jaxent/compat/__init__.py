# SPDX-License-Identifier: Apache-2.0
"""Other frameworks' losses, in JAX: their names, argument orders and numbers.

Argument order, defaults, clipping, weighting and reduction are the framework's; the
arithmetic is jaxent's. Where a framework's result is an artefact of rounding, these
give the true value, and the page "Coming from …" lists it.
"""

from . import keras as keras
from . import optax as optax
from . import sklearn as sklearn
from . import tensorflow as tensorflow
from . import torch as torch
