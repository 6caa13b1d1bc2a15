# SPDX-License-Identifier: Apache-2.0
"""Fused heads written for a chip: the logits are never outside of it.

`tpu` and `gpu` hold the same three functions, and nothing else knows the difference:

- `tiles(head, memory)`: the block sizes that fit, or an error that says what to
  change; raised while tracing, before anything is compiled.
- `sums(head, labels, how)`: `HeadSums` of each position.
- `gradient(head, labels, slopes, how)`: a `Head` of gradients, in its arrays' dtypes.

What is made of the sums, and the rule of differentiation, is in `fused_head`.
"""
