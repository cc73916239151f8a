//! What agents of this kind have failed at, and the tests that hold it here.
//!
//! - Processes: `no_exit_code_is_lost_while_orphans_are_reaped`, `ten_thousand_orphans_leave_nothing_behind`,
//!   `the_agent_takes_no_port_that_a_program_may_want`, `without_a_home_the_agent_starts`,
//!   `a_stop_takes_everything_along_in_time`, `after_a_kill_no_exit_code_of_before_is_told`
//! - Execute: `endless_output_ends_in_time_and_in_bounded_memory`,
//!   `a_background_process_does_not_hold_up_the_answer_and_lives`,
//!   `a_command_that_takes_too_long_is_killed_with_all_it_started`,
//!   `a_script_has_no_input_and_its_lines_are_not_eaten`, `a_script_of_two_megabytes_runs`,
//!   `bad_variable_names_are_refused_and_bad_starts_reported`,
//!   `multi_byte_output_survives_and_invalid_bytes_are_replaced`
//! - Code-run: `charts_come_beside_the_output_and_not_in_it`,
//!   `a_chart_that_cannot_be_described_does_not_fail_the_program`,
//!   `python_gets_its_arguments_and_variables_as_they_are`
//! - Sessions: `the_end_of_the_shell_is_the_end_of_the_command`, `async_commands_run_one_after_another`,
//!   `commands_share_the_shell`, `traps_of_the_user_are_the_users`, `bytes_reach_the_stream_unchanged_and_at_once`,
//!   `a_background_child_does_not_hold_up_the_command`, `much_output_passes_fast_in_flat_memory_and_bounded_disk`,
//!   `two_followers_a_slow_one_and_a_late_one_see_the_same`, `ids_are_only_names`,
//!   `input_reaches_a_running_command_and_is_refused_afterwards`, `a_command_that_does_not_read_does_not_hang_the_agent`,
//!   `deleting_a_session_kills_all_that_it_started`, `each_generation_gets_its_form_byte_for_byte`,
//!   `five_hundred_async_commands_leave_nothing_behind`
//! - Terminals: `a_lazy_terminal_starts_with_its_first_client_who_sees_the_first_prompt`,
//!   `all_output_comes_before_the_end_and_the_end_says_how`,
//!   `a_client_that_stops_reading_holds_up_nobody_and_is_dropped`,
//!   `deleting_a_terminal_kills_all_that_it_started`,
//!   `a_resize_reaches_programs_and_terminals_that_have_not_started`, `a_thousand_terminals_leave_nothing_behind`
//! - Interpreter: `output_of_other_programs_comes_in_order_with_pythons_own`,
//!   `input_is_refused_and_does_not_eat_the_next_execution`,
//!   `a_line_of_five_megabytes_and_cut_characters_arrive_whole`, `a_worker_that_dies_is_told_at_once_and_replaced`,
//!   `a_cooperative_interrupt_keeps_the_state`, `deleting_a_context_ends_what_runs_and_what_waits`
//! - Files: `a_large_upload_takes_little_memory_and_keeps_mode_and_link`,
//!   `a_chunked_upload_without_a_length_works_and_one_broken_off_leaves_nothing`,
//!   `many_files_arrive_whatever_the_order_of_their_parts`, `one_bad_destination_does_not_keep_the_others_out`,
//!   `many_downloads_come_in_order_with_a_part_for_each_failure`, `a_file_cut_while_it_is_sent_breaks_the_connection`,
//!   `a_folder_does_not_move_into_itself`, `a_move_to_another_file_system_keeps_the_tree`,
//!   `a_dangling_link_can_be_deleted`, `a_line_of_a_megabyte_is_cut_around_its_match_and_the_next_one_is_found`,
//!   `text_is_found_as_it_stands_line_by_line`, `every_error_is_the_standard_object`,
//!   `bad_input_gets_a_reason_and_leaves_nothing`
//! - Git: `a_checkout_loses_nothing_and_changes_nothing_when_it_is_refused`,
//!   `a_new_branch_takes_all_local_work_along`, `an_unknown_name_is_not_found_although_there_is_a_master`,
//!   `a_clone_takes_less_memory_than_the_repository_has_bytes`, `addresses_with_ssh_need_the_image_s_git`,
//!   `without_any_git_program_everything_over_http_works`, `pushes_arrive_or_are_rejected_with_the_reason`,
//!   `credentials_open_the_remote_and_are_kept_nowhere`,
//!   `a_repository_without_commits_has_a_status_a_history_and_branches`
//! - Language servers: `the_server_of_the_language_runs_once_in_its_project`, `zero_is_a_place_and_a_trigger`,
//!   `stop_asks_politely_and_leaves_nothing`
//! - Ports: `listeners_are_seen_on_both_families_and_no_longer_when_they_end`,
//!   `a_request_that_may_have_arrived_is_never_sent_twice`

use std::path::{Path, PathBuf};

/// All source of the agent and its tests.
fn sources() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<PathBuf> = vec![root.join("src"), root.join("tests")];
    let mut text = String::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).unwrap();
            open.extend(entries.map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    text
}

#[test]
fn every_test_of_the_list_is_there() {
    let sources = sources();
    let list = include_str!("traps.rs").split("\n\n").next().unwrap();
    let names: Vec<_> = list.split('`').skip(1).step_by(2).collect();
    assert!(names.len() > 50, "{names:?}");
    for name in names {
        assert!(sources.contains(&format!("fn {name}(")), "{name}");
    }
}
