# SPDX-License-Identifier: Apache-2.0
"""`python -m jaxent certify`: the losses of a device against definitions in NumPy."""
