# SPDX-License-Identifier: Apache-2.0
"""What recorded the golden files needs its framework, and what is to be type-checked
is no test: neither is imported. And devices for the meshes of the sharded tests."""

import jax

collect_ignore_glob = ["golden/*.py", "typed/*.py"]

# All other tests use the first of them.
jax.config.update("jax_num_cpu_devices", 8)
