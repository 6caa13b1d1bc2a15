# SPDX-License-Identifier: Apache-2.0
"""Scripts that recorded the golden files are no tests: they need what they call."""

import jax

collect_ignore_glob = ["golden/*.py"]

# For the meshes of the sharded tests; all others use the first of them.
jax.config.update("jax_num_cpu_devices", 8)
