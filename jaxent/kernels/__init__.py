# SPDX-License-Identifier: Apache-2.0
"""Fused heads written for a chip: the logits are never outside of it.

`tpu` and `gpu` hold the same four functions, and nothing else knows the difference:

- `tiles(call, head, memory)`: the block sizes that fit, or an error that says what to
  change; raised while tracing, before anything is compiled.
- `sums(head, labels, how)`: `HeadSums` of each position.
- `d_hidden(head, labels, slopes, how)`: [N, d], in the dtype of `hidden`.
- `d_classifier(head, labels, slopes, how)`: [V, d] and [V] (None without a bias), in
  the dtypes of `classifier` and `bias`.

What is made of the sums, and the rule of differentiation, is in `_fused_head`.
"""
