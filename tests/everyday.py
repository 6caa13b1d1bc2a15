# SPDX-License-Identifier: Apache-2.0
"""What of the long tables is run every day; the rest is left to `make test-all`.

The rest is of the same lines: another option, order, type or place of what has a row of
every day here. What only the rest has (JS and the cross-entropy of two logits beyond
their values, such as on meshes and exported; a head of every kind on explicit axes;
heads of KL exported, and top-k's in slices; curvature of KL in p at saturation;
processes that end, and four of them) waits for that run, so it comes before a release.
All tests of a file and name that is not here are run every day.
"""

import pytest

ROWS = pytest.StashKey[dict[str, set[bool]]]()
"""Of each test that was collected, whether rows match, and whether any does not."""

EVERYDAY = {
    "test_checkify::test_a_bad_label_is_named_in_every_transform": (
        "^(plain|grad|vmap)$"
    ),
    "test_collectives::test_a_few_numbers_a_token": "integer_labels|^kl_|focal",
    "test_compat_keras::test_the_number_keras_prints": (
        r"^(?!.*reduction=(sum|mean)\W)|\((soft|ids), (probs|logits), reduction"
    ),
    "test_compat_optax::test_the_number_optax_prints": "^(?!.*[^b]float16)",
    "test_compat_tensorflow::test_the_number_tensorflow_prints": (
        r"^(?!.*reduction=weighted_sum(_over_batch_size)?\))"
        r"|\(ids, logits, reduction"
    ),
    "test_compat_torch::test_the_number_torch_prints": (
        r"^(?!.*reduction=sum)|\(logits, (ids|soft), reduction=sum"
    ),
    "test_distillation::test_on_a_mesh": "^binary-sliced",
    "test_distillation::test_dense_logits_on_a_mesh": "category",
    "test_explicit_meshes::test_values": "^(reduce|next|linear|kl|sampled)",
    "test_explicit_meshes::test_arguments_may_lie_anywhere": (
        "^softmax_cross_entropy_with|linear_softmax_cross|^kl_divergence_from_top"
        "|^reduce|^next_token"
    ),
    "test_export::test_any_other_function_of_any_batch": "linear_softmax_cross|reduce",
    "test_export::test_a_loss_of_any_batch": (
        "integer_labels|^kl_divergence_from|^sigmoid_f|^categorical|^softmax_f"
    ),
    "test_extremes::test_hessian_of_measures": "^(?!KL in p)",
    "test_extremes::test_softmax_focal": "2.0",
    "test_extremes::test_hessian_of_integer_labels": "right",
    "test_kernels_tpu::test_ragged_tiles": "f32",
    "test_kernels_tpu::test_a_bug_is_caught": "tail",
    "test_labels::test_dropped_positions_of_two_float_arguments_are_not_read": (
        "^softmax|^sigmoid_b|^kl_divergence_from|^cross_entropy$"
    ),
    "test_labels::test_a_label_out_of_range_is_nan_with_all_its_gradient": (
        "^int32-|cross_entropy_with"
    ),
    "test_labels::test_dropped_positions_are_not_read": "integer_labels|^(where|both)",
    "test_linear::test_values_and_gradients": (
        "^(plain|ignore|temp|seq|sum|non|all).*ragged"
    ),
    "test_linear::test_transforms": (
        "all-(?!hessian|jacrev|jacfwd of|forward)|none-(jvp|vmap of)"
    ),
    "test_linear::test_half_inputs": "mean-|none-bfloat16",
    "test_linear::test_mixed_precision_multiplies_halves": "bfloat16",
    "test_linear::test_values_and_gradients_of_gathered_slopes": (
        "^(plain|where|temperature|all)$"
    ),
    "test_linear::test_transforms_of_gathered_slopes": "^(reverse|vmap)",
    "test_memory::test_a_gradient_per_position_keeps_no_classifier_a_chunk": (
        "^(own_)?losses.*1MB"
    ),
    "test_memory::test_nothing_brings_the_logits_back": "options|distil|entropy",
    "test_memory::test_temporaries_follow_the_budget": "65536-(16MB|None)",
    "test_nan_detectors::test_nothing_is_found_in_a_head": (
        "^(linear|sampled|kl)_.*infs$|^linear_softmax_cross|reduce"
    ),
    "test_one_pass::test_the_bounds_are_kept_in_one_pass": "one-hot|statistics|integer",
    "test_optax::test_label_distributions": "^True-.*(float32|bfloat16)|^False.*7.*32",
    "test_optax::test_class_ids": "^True|^False.*7",
    "test_optax::test_safe_label_distributions": "float32|shape0",
    "test_optax::test_binary_labels": "float32|shape0",
    "test_optax::test_divergences": "float32|True-kl",
    "test_own_loss::test_on_explicit_axes": "classes",
    "test_own_loss::test_value_gradient_and_aux_are_the_dense_ones": (
        "none-chunks|mean-whole"
    ),
    "test_positions::test_what_is_dropped_is_neither_counted_nor_read": (
        "^(?!poly_|generalized_cross)"
    ),
    "test_processes::test_several_processes_train_as_one_does": "2",
    "test_products::test_product": (
        "^(?!.*-(unit|wrong)$|.*-together|poly|.*one_hot)|(integer_labels"
        "|generali.*)-together"
    ),
    "test_products::test_no_offset_harms_a_gradient": "1.29|3.0",
    "test_public_api::test_an_eager_call_is_one_program": "f32",
    "test_sampled::test_second_derivatives": "softmax",
    "test_sampled::test_values_and_gradients": "1$",
    "test_sampled::test_a_bad_label_is_nan_for_its_position_alone": "nce|-1$",
    "test_sampled::test_memory_is_the_gradient_and_the_columns": "softmax",
    "test_semantics::test_a_forbidden_class_adds_nothing_in_any_mode": (
        "logit-(soft.*cross|general)|nan-soft.*cross|integer"
    ),
    "test_semantics::test_a_class_that_both_forbid_adds_nothing_to_a_measure": (
        "^(entropy|kl)_"
    ),
    "test_semantics::test_smoothing_spreads_over_the_allowed_classes_alone": "cross",
    "test_semantics::test_no_value_is_nan_for_that_position_alone": "options1|integer",
    "test_semantics::test_a_label_on_a_forbidden_class_is_infinite_with_a_finite_"
    "gradient": "inf|integer",
    "test_shapes::test_edges_of_shape": (
        "integer_labels|softmax_cross_entropy$|batch1|sigmoid_b"
    ),
    "test_sharded::test_slices_of_the_classes": (
        "^(.*integer_labels|kl_[a-z_]*|entropy_[a-z_]*)-float32|together-float32"
    ),
    "test_sharded::test_sharded_arrays": "Explicit|integer_labels|^kl",
    "test_sharded_heads::test_partly_automatic_meshes_are_typed": (
        "^(cross-entropy|a loss.*mean).*vocab"
    ),
    "test_sharded_heads::test_transforms": "reverse over|vmap of",
    "test_sharded_heads::test_statistics_beside_a_loss_in_slices": "^linear",
    "test_sharded_heads::test_sharded_arrays": "Auto.*none|-both-all|-data",
    "test_sharded_heads::test_values_and_gradients": "-chunks",
    "test_step::test_statistics_beside_a_loss_in_every_transform": "^jvp$",
    "test_step::test_the_statistics_are_those_of_a_sweep_of_their_own": "^mean",
    "test_sums::test_the_rest_of_the_classes": "-(float32|bfloat16)",
    "test_sums::test_all_but_one_of_the_likeliest": "-float32|(rows|pass)-bfloat16",
    "test_temperature::test_its_derivatives_are_those_of_divided_logits": (
        "integer_labels"
    ),
    "test_token_axes::test_first_and_second_derivatives": "mean",
    "test_token_axes::test_what_is_sent": "^True",
    "test_top_k::test_transforms_of": "category-0-second",
    "test_top_k::test_value": "^(?!131072.*(drop|renormalize))",
    "test_top_k::test_fused_is_dense": "all-none",
    "test_top_k::test_an_id_out_of_range_is_nan_for_its_position_alone": (
        "int32-(drop|category)"
    ),
    "test_top_k::test_gradients": "float32-(90.*category|12)",
    "test_transforms::test_transforms": (
        "^(?!entropy_|cross_entropy_|kl_.*logits-1|poly_.*second"
        "|sigmoid_focal.*second|.*eager).|^entropy_.*first|_logits-1-first"
        "|integer.*eager|^kl_.*logits-0-eager"
    ),
    "test_transforms::test_hessian_of_a_saturated_position": "^hessian-float32|fwd.*32",
    "test_transforms::test_traced_option": "^(?!.*(cold|axes|smoothing-|z_loss-))",
    "test_values::test_value_and_gradient": (
        "^(?!js_.*-(axis0|axes|weight|warm)|cross_.*-warm|kl_.*-axes|.*-cold|(js"
        "|cross)_.*logits-(bfloat16|float64)|softmax_cross_entropy-axes"
        "|(softmax_cross_entropy|softmax_focal_loss)-(together_cold|gamma5))"
    ),
    "test_values::test_one_position_and_one_class_or_two": (
        "^(?!js_|cross_entropy_from)"
    ),
    "test_values::test_single_precision_where_double_is_enabled": r"^\w+$|together",
}

COMPOSED = "js_divergence", "cross_entropy_from_logits"
"""Of KL and of KL with entropy, and as long to compile as all of these."""

OF_COMPOSED = {
    "test_values", "test_zeros", "test_oracle", "test_errors", "test_doors",
    "test_public_api", "test_subnormal", "test_tables",
}  # fmt: skip
"""Where their rows are run every day."""
