# SPDX-License-Identifier: Apache-2.0
"""Fused heads: projection and loss in one, for a chunk of positions at a time.

`given` lays out what the doors were given; `chunks` cuts the positions, `chunked` runs
a function over the pieces and differentiates it; `losses` are the functions, the dense
engine on a chunk's logits; `explicit` runs all of it where the devices hold the arrays.
`kernels` are Pallas programs for a chip, that never let the logits leave it.
"""
