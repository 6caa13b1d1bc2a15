# SPDX-License-Identifier: Apache-2.0
"""What `benchmarks.collectives` reads off programs whose collectives are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from benchmarks.collectives import collectives

DEVICES, ROUNDS = 4, 5
NUMBERS = 4 * 3  # of float32, on each device


def summed(x):
    return jax.lax.psum(x, "i")


def summed_in_a_loop(x):
    return jax.lax.fori_loop(0, ROUNDS, lambda _, x: x + jax.lax.psum(x, "i"), x)


def gathered(x):
    return jax.lax.all_gather(x, "i", tiled=True)


def scattered(x):
    return jax.lax.psum_scatter(x, "i", tiled=True)


def passed_on(x):
    return jax.lax.ppermute(x, "i", [(i, (i + 1) % DEVICES) for i in range(DEVICES)])


@pytest.mark.parametrize(
    ("f", "kind", "times", "numbers", "sent"),
    [
        # On a ring each device sends its share n−1 times, and for a sum twice that.
        (summed, "all-reduce", 1, NUMBERS, 2 * 3 / 4),
        (summed_in_a_loop, "all-reduce", ROUNDS, NUMBERS, ROUNDS * 2 * 3 / 4),
        (gathered, "all-gather", 1, NUMBERS * DEVICES, 3),
        (scattered, "reduce-scatter", 1, NUMBERS // DEVICES, 3 / 4),
        (passed_on, "collective-permute", 1, NUMBERS, 1),
    ],
)
def test_one_collective(f, kind, times, numbers, sent):
    mesh = Mesh(np.array(jax.devices()[:DEVICES]), "i")
    f = jax.shard_map(f, mesh=mesh, in_specs=P("i"), out_specs=P("i"), check_vma=False)
    program = jax.jit(f).lower(jnp.zeros((4 * DEVICES, 3))).compile()
    (found,) = collectives(program.as_text())
    group = 2 if kind == "collective-permute" else DEVICES
    assert (found.kind, found.times, found.group) == (kind, times, group)
    assert (found.largest, found.size) == (numbers, 4 * numbers)
    assert found.sent == sent * 4 * NUMBERS


TPU = """
%async_part.1 (p: f32[8]) -> f32[64] {
  %all-gather.1 = f32[64]{0:T(128)} all-gather(%p), channel_id=4, \
replica_groups=mesh['data'=2,'vocab'=8] {'vocab'}, dimensions={0}
}

%async_part.2 (p: f32[8]) -> f32[64] {
  %all-gather.2 = f32[64]{0:T(128)} all-gather(%p), channel_id=4, \
replica_groups=mesh['data'=2,'vocab'=8] {'vocab'}, dimensions={0}
}

%never_called (p: f32[8]) -> f32[8] {
  %all-reduce.9 = f32[8]{0} all-reduce(%p), channel_id=9, replica_groups=[2,8]<=[16]
}

%condition (s: (s32[], f32[8])) -> pred[] {
  %constant.1 = s32[]{:T(128)} constant(7)
  ROOT %lt = pred[] compare(%i, %constant.1), direction=LT
}

%body (s: (s32[], f32[8])) -> (s32[], f32[8]) {
  %a = f32[64] fusion(%x), kind=kCustom, calls=%async_part.1
  %b = f32[64] fusion(%x), kind=kCustom, calls=%async_part.2
  %psum.1 = f32[2]{0} all-reduce(%w), channel_id=1, replica_groups=[4,4]<=[16]
  %all-reduce.2 = (bf16[8,1]{0,1:T(2,128)}, pred[]) all-reduce(%y, %z), channel_id=1, \
replica_groups=mesh['data'=2,'vocab'=8] {'vocab':(2)4}, to_apply=%add
}

ENTRY %main.1 (x: f32[8]) -> f32[8] {
  %collective-permute-start = (s32[4]{0}, s32[4]{0}, u32[], u32[]) \
collective-permute-start(%x), channel_id=6, source_target_pairs={{0,1},{1,0}}
  %while.1 = (s32[], f32[8]) while(%t), condition=%condition, body=%body
}
"""


def test_the_text_of_a_tpu_program():
    """A gather in two parts, a loop without its count, a channel for two sums."""
    gather, small, total, passed = collectives(TPU)
    assert gather == ("all-gather", ((64,),), 256, 8, 7)
    assert small == ("all-reduce", ((2,),), 8, 4, 7)
    assert total == ("all-reduce", ((8, 1), ()), 17, 4, 7)
    assert passed == ("collective-permute", ((4,),), 16, 2, 1)
    assert gather.sent == 7 * 256 * 7 / 8
