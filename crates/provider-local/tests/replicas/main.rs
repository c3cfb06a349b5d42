//! Replicas with real processes, in every way this machine can run them.
//!
//! The program is its own agent (`replicas agent <dir>`) and its own server to be killed (`replicas
//! launch <home>`), so it has no harness of the library's; it takes the same filter argument.

mod bench;
mod contract;
mod files;
mod gpus;
mod network;
mod processes;
mod recovery;

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitCode;

/// Every case, by name.
const CASES: [(&str, fn()); 24] = [
    ("contract_isolated", contract::isolated),
    ("contract_shared", contract::shared),
    ("contract_without_namespaces", contract::without_namespaces),
    ("environment", files::environment),
    ("home_mounts", files::home_mounts),
    ("absolute_mounts", files::absolute_mounts),
    (
        "absolute_mounts_need_root",
        files::absolute_mounts_need_root,
    ),
    ("secrets_stay_secret", files::secrets_stay_secret),
    ("gpus_are_handed_out_once", gpus::are_handed_out_once),
    ("same_port_side_by_side", network::same_port_side_by_side),
    ("outbound_traffic", network::outbound_traffic),
    (
        "a_dead_replicas_address_leads_nowhere",
        network::a_dead_replicas_address_leads_nowhere,
    ),
    (
        "a_taken_port_is_explained",
        network::a_taken_port_is_explained,
    ),
    (
        "a_lone_program_keeps_its_port",
        network::a_lone_program_keeps_its_port,
    ),
    ("the_way_chosen_is_told", network::the_way_chosen_is_told),
    ("nothing_escapes", processes::nothing_escapes),
    (
        "a_failure_ends_everything",
        processes::a_failure_ends_everything,
    ),
    ("idle_is_told", processes::idle_is_told),
    ("an_agent_killed", processes::an_agent_killed),
    ("changes_are_told", recovery::changes_are_told),
    ("a_server_killed", recovery::a_server_killed),
    ("a_provider_made_again", recovery::a_provider_made_again),
    ("half_made_replicas", recovery::half_made_replicas),
    (
        "an_agent_that_cannot_start",
        recovery::an_agent_that_cannot_start,
    ),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["agent", dir] => std::process::exit(agent::run(Path::new(dir))),
        ["launch", home] => {
            recovery::launch_and_wait(Path::new(home));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    if arguments.iter().any(|argument| argument == "--list") {
        CASES.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|text| !text.starts_with('-'))
        .collect();
    let chosen = CASES.iter().filter(|(name, _)| {
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    });
    let mut failed = Vec::new();
    for (name, case) in chosen {
        let passed = std::panic::catch_unwind(AssertUnwindSafe(case)).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        if !passed {
            failed.push(*name);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}
