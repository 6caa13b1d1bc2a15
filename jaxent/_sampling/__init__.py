# SPDX-License-Identifier: Apache-2.0
"""Sampled classes: `candidates` draws them, `logits` are those of [true | sampled]."""
