# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of every loss: two numbers a position, and what is made of them.

Read `sums` first (what is added up over the classes), then `statistics` (what that is
combined to, and its derivatives), then `pair_losses` (a loss as a function of the two)
and `softmax_statistics` (the same numbers, for a loss of a user's own).
`exact` and `ratios` are scalar functions, `elementary` exp and log as accurate as a
platform has them; `class_axis` and `placement` know where the classes and arrays are.
The mathematics is derived in docs/mathematics.md.
"""
