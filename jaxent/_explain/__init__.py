# SPDX-License-Identifier: Apache-2.0
"""`jaxent.explain`: which framework's conventions give a number that was printed."""
