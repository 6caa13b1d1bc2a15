# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy for JAX: exact, composable, in nats.

A loss is one value per position; a fused head's is their mean unless `reduction` says.
"""

from importlib.metadata import distributions as _distributions

from . import compat as compat
from . import samplers as samplers
from ._distillation import linear_js_divergence as linear_js_divergence
from ._distillation import linear_kl_divergence as linear_kl_divergence
from ._distillation import (
    linear_kl_divergence_from_top_k as linear_kl_divergence_from_top_k,
)
from ._divergence import generalized_kl_divergence as generalized_kl_divergence
from ._divergence import kl_divergence as kl_divergence
from ._divergence import kl_divergence_from_logits as kl_divergence_from_logits
from ._divergence import kl_divergence_from_top_k as kl_divergence_from_top_k
from ._divergence import (
    kl_divergence_with_log_targets as kl_divergence_with_log_targets,
)
from ._engine.softmax_statistics import SoftmaxStatistics as SoftmaxStatistics
from ._entropy import cross_entropy as cross_entropy
from ._entropy import cross_entropy_from_logits as cross_entropy_from_logits
from ._entropy import entropy as entropy
from ._entropy import entropy_from_logits as entropy_from_logits
from ._entropy import js_divergence as js_divergence
from ._entropy import js_divergence_from_logits as js_divergence_from_logits
from ._explain.explain import Explanation as Explanation
from ._explain.explain import explain as explain
from ._focal import generalized_cross_entropy as generalized_cross_entropy
from ._focal import poly_loss_cross_entropy as poly_loss_cross_entropy
from ._focal import softmax_focal_loss as softmax_focal_loss
from ._labels import next_token_labels as next_token_labels
from ._labels import smooth_labels as smooth_labels
from ._linear import linear_softmax_cross_entropy as linear_softmax_cross_entropy
from ._linear import linear_softmax_loss as linear_softmax_loss
from ._linear import linear_softmax_statistics as linear_softmax_statistics
from ._probabilities import binary_cross_entropy as binary_cross_entropy
from ._probabilities import categorical_cross_entropy as categorical_cross_entropy
from ._probabilities import negative_log_likelihood as negative_log_likelihood
from ._reduce import WeightedMean as WeightedMean
from ._reduce import bits_per_byte as bits_per_byte
from ._reduce import perplexity as perplexity
from ._reduce import reduce as reduce
from ._reduce import segment_means as segment_means
from ._sampled import nce_loss as nce_loss
from ._sampled import (
    rank_sampled_softmax_cross_entropy as rank_sampled_softmax_cross_entropy,
)
from ._sampled import sampled_softmax_cross_entropy as sampled_softmax_cross_entropy
from ._sampling.candidates import Candidates as Candidates
from ._sigmoid import (
    linear_sigmoid_binary_cross_entropy as linear_sigmoid_binary_cross_entropy,
)
from ._sigmoid import sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy
from ._sigmoid import sigmoid_focal_loss as sigmoid_focal_loss
from ._softmax import softmax_cross_entropy as softmax_cross_entropy
from ._softmax import (
    softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels,
)
from ._softmax import softmax_statistics as softmax_statistics

# A source tree that is not installed has none.
__version__ = next((d.version for d in _distributions(name="jaxent")), "unknown")


def __dir__() -> list[str]:
    """What the shop window shows, without the modules behind it."""
    private = {name for name in globals() if name.startswith("_") and name[1] != "_"}
    return [*globals().keys() - private]
