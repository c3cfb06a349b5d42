//! `sky serve down`.

use std::process::ExitCode;

use api::{Client, DownRequest, ServiceRecord};
use plan::status::ServiceStatus;

use super::wait;
use crate::args::DownArguments;
use crate::failure::Failure;
use crate::output::{self, prompt};
use crate::server_process;

pub(crate) fn run(arguments: &DownArguments) -> Result<ExitCode, Failure> {
    let names = &arguments.service_names;
    if names.is_empty() != arguments.all {
        return Err(Failure::Usage(
            "give either the names of services, or --all; exactly one of the two".to_owned(),
        ));
    }
    if arguments.replica_id.is_some() && (arguments.all || names.len() != 1) {
        return Err(Failure::Usage(
            "--replica-id needs exactly one service name".to_owned(),
        ));
    }
    server_process::block_on(async {
        let Some(client) = server_process::connect_if_used().await? else {
            return nothing(arguments);
        };
        match arguments.replica_id {
            Some(id) => replica(&client, arguments, id).await,
            None => services(&client, arguments).await,
        }
    })
}

fn nothing(arguments: &DownArguments) -> Result<ExitCode, Failure> {
    if let Some(name) = arguments
        .service_names
        .iter()
        .find(|name| !is_pattern(name))
    {
        return Err(Failure::Refused(format!(
            "Service '{name}' does not exist."
        )));
    }
    output::line("No service to terminate.")?;
    Ok(ExitCode::SUCCESS)
}

fn request(arguments: &DownArguments) -> DownRequest {
    DownRequest {
        purge: arguments.purge,
        now: arguments.now,
    }
}

async fn replica(client: &Client, arguments: &DownArguments, id: u32) -> Result<ExitCode, Failure> {
    let name = arguments
        .service_names
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    client.service(name).await?;
    let question = format!("Terminating replica ID {id} in '{name}'. Proceed?");
    prompt::confirm(&question, arguments.confirm.yes)?;
    let accepted = client
        .terminate_replica(name, id, &request(arguments))
        .await?;
    output::line(&accepted.message)?;
    output::line(&format!(
        "Please use sky serve status {name} to check the latest status."
    ))?;
    if let Some(seconds) = arguments.confirm.wait {
        wait::for_replica_down(client, name, id, seconds).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn services(client: &Client, arguments: &DownArguments) -> Result<ExitCode, Failure> {
    let all = client.services(&[]).await?.services;
    let Choice {
        chosen,
        mut refused,
    } = choose(&all, arguments)?;
    if chosen.is_empty() {
        return if refused {
            Ok(ExitCode::FAILURE)
        } else {
            nothing(arguments)
        };
    }
    let quoted = quote(&chosen);
    let question = if arguments.all {
        "Terminating all services. Proceed?".to_owned()
    } else {
        format!("Terminating service(s) {quoted}. Proceed?")
    };
    prompt::confirm(&question, arguments.confirm.yes)?;
    let mut accepted = Vec::new();
    for name in chosen {
        // One that is refused must neither keep the others nor hide what was done.
        match client.down(&name, &request(arguments)).await {
            Ok(_) => accepted.push(name),
            Err(error) => {
                Failure::from(error).report();
                refused = true;
            }
        }
    }
    let quoted = quote(&accepted);
    match accepted.as_slice() {
        [] => {}
        [_] => output::line(&format!("Service {quoted} is scheduled to be terminated."))?,
        _ => output::line(&format!(
            "Services {quoted} are scheduled to be terminated."
        ))?,
    }
    if let Some(seconds) = arguments.confirm.wait {
        for name in &accepted {
            wait::for_down(client, name, seconds).await?;
        }
    }
    Ok(if refused {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn quote(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    quoted.join(", ")
}

/// What the names, or `--all`, come to.
struct Choice {
    /// Those to take down.
    chosen: Vec<String>,
    /// Whether any was left out, which has been told.
    refused: bool,
}

fn choose(all: &[ServiceRecord], arguments: &DownArguments) -> Result<Choice, Failure> {
    for name in arguments
        .service_names
        .iter()
        .filter(|name| !is_pattern(name))
    {
        if !all.iter().any(|service| service.name == *name) {
            return Err(Failure::Refused(format!(
                "Service '{name}' does not exist."
            )));
        }
    }
    let (mut chosen, mut refused) = (Vec::new(), false);
    for service in all {
        let wanted = arguments.all
            || arguments
                .service_names
                .iter()
                .any(|pattern| matches(pattern, &service.name));
        if !wanted {
            continue;
        }
        if service.status == ServiceStatus::FailedCleanup && !arguments.purge {
            let (name, status) = (&service.name, service.status);
            output::line(&format!(
                "Service '{name}' is in failed status ({status}). Skipping its termination as it could lead to \
                 a resource leak. (Use `sky serve down {name} --purge` to forcefully terminate the service.)"
            ))?;
            refused = true;
            continue;
        }
        chosen.push(service.name.clone());
    }
    Ok(Choice { chosen, refused })
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// `*` is any text, `?` any one character, everything else itself.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // reachable[i]: the pattern so far matches the first i characters.
    let mut reachable = vec![false; name.len() + 1];
    reachable[0] = true;
    for wanted in pattern {
        let mut next = vec![false; name.len() + 1];
        for (index, reached) in reachable.iter().enumerate() {
            if !reached {
                continue;
            }
            if wanted == '*' {
                next.iter_mut().skip(index).for_each(|slot| *slot = true);
            } else if name
                .get(index)
                .is_some_and(|found| wanted == '?' || wanted == *found)
            {
                next[index + 1] = true;
            }
        }
        reachable = next;
    }
    reachable.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell_and_underscore_is_no_wildcard() {
        for (pattern, name, expected) in [
            ("web", "web", true),
            ("web", "webs", false),
            ("web*", "web", true),
            ("*-b", "a-b", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a_c", "abc", false),
            ("A", "a", false),
            ("*", "", true),
            ("**x*", "axb", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} on {name}");
        }
    }
}
