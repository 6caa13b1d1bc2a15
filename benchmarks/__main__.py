# SPDX-License-Identifier: Apache-2.0
"""`make bench`: every benchmark there is, one after the other."""

from . import fused_head, sampled

fused_head.main()
print()
sampled.main()
