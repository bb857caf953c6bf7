"""The tests of tests/engine that engines may answer differently. pytest collects them here, too."""

from __future__ import annotations

from test_checkouts import test_neither_removes_what_the_other_built
from test_emulated import below, emulated, foreign, test_a_foreign_image_is_built_on_and_run
from test_isolation import (
    listening,
    test_a_command_that_does_not_exist_could_not_start,
    test_a_probe_cannot_do_harm,
    test_a_probe_that_takes_too_long_is_ended,
    test_each_ending_is_told_apart,
    test_the_same_attempt_succeeds_without_isolation,
)
from test_serving import test_an_engine_elsewhere_gets_the_same_image
from test_sharing import (
    test_a_probe_beside_others_cannot_do_harm,
    test_a_probe_cannot_forge_the_result_of_another,
    test_a_probe_that_kills_everything_spoils_only_the_sharing,
    test_each_ending_is_told_apart_beside_others,
    test_nothing_that_a_probe_leaves_is_there_for_the_next,
)
from test_verdicts import (
    test_a_version_that_does_not_import_is_broken_and_the_others_work,
    test_changing_one_probe_runs_that_probe_alone,
    test_ctrl_c_leaves_no_name_of_a_layer,
    test_ctrl_c_leaves_nothing_at_work,
)
from test_verify import (
    test_a_cell_rebuilds_to_the_same_layers_and_configuration,
    test_a_layer_that_differs_is_told_with_path_and_cause,
    test_a_pruned_run_keeps_the_evidence_and_no_image,
    unstable,
)

__all__ = [
    "below",
    "emulated",
    "foreign",
    "listening",
    "test_a_cell_rebuilds_to_the_same_layers_and_configuration",
    "test_a_command_that_does_not_exist_could_not_start",
    "test_a_foreign_image_is_built_on_and_run",
    "test_a_layer_that_differs_is_told_with_path_and_cause",
    "test_a_probe_beside_others_cannot_do_harm",
    "test_a_probe_cannot_do_harm",
    "test_a_probe_cannot_forge_the_result_of_another",
    "test_a_probe_that_kills_everything_spoils_only_the_sharing",
    "test_a_probe_that_takes_too_long_is_ended",
    "test_a_pruned_run_keeps_the_evidence_and_no_image",
    "test_a_version_that_does_not_import_is_broken_and_the_others_work",
    "test_an_engine_elsewhere_gets_the_same_image",
    "test_changing_one_probe_runs_that_probe_alone",
    "test_ctrl_c_leaves_no_name_of_a_layer",
    "test_ctrl_c_leaves_nothing_at_work",
    "test_each_ending_is_told_apart",
    "test_each_ending_is_told_apart_beside_others",
    "test_neither_removes_what_the_other_built",
    "test_nothing_that_a_probe_leaves_is_there_for_the_next",
    "test_the_same_attempt_succeeds_without_isolation",
    "unstable",
]
