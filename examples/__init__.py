# SPDX-License-Identifier: Apache-2.0
"""Programs that use jaxent as you would; `python -m examples.demo` runs the first."""
