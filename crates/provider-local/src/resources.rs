//! Whether this machine can give what is asked for, and the RESOURCES column that says what was.

use plan::observation::ErrorClass;
use provider::{LaunchRequest, ProviderError};
use spec::ResourceCandidate;

use crate::Machine;

/// Refuses what this machine can never give. What may be free later is not looked at here.
pub(crate) fn check(request: &LaunchRequest, machine: &Machine) -> Result<(), ProviderError> {
    let resources = &request.resources;
    if request.num_nodes > 1 {
        return Err(user_fault(format!(
            "a replica of {} nodes cannot run on one machine; set `num_nodes: 1`",
            request.num_nodes
        )));
    }
    if let Some(cloud) = resources.cloud.as_deref().or(resources.infra.as_deref())
        && !cloud.eq_ignore_ascii_case("local")
    {
        return Err(user_fault(format!(
            "`{cloud}` is asked for; this is the local infra"
        )));
    }
    if let Some(instance_type) = &resources.instance_type {
        return Err(user_fault(format!(
            "no instance type can be had on the local infra, so no `{instance_type}`"
        )));
    }
    if resources.use_spot {
        return Err(no_capacity(
            "there are no spot instances on the local infra".to_owned(),
        ));
    }
    if resources.image_id.is_some() {
        return Err(user_fault(
            "`image_id` cannot be had on the local infra".to_owned(),
        ));
    }
    check_amount("cpus", resources.cpus.as_deref(), "", cast(machine.cpus))?;
    // A machine sold with 16 GiB shows a little less.
    check_amount(
        "memory",
        resources.memory.as_deref(),
        " GiB",
        machine.memory_gib.ceil(),
    )
}

/// Refuses an amount above what the machine has in all.
fn check_amount(
    name: &str,
    asked: Option<&str>,
    unit: &str,
    available: f64,
) -> Result<(), ProviderError> {
    let Some(text) = asked else { return Ok(()) };
    let amount: f64 = plain(text).parse().map_err(|_| {
        user_fault(format!(
            "`{name}: {text}` is not an amount the local infra understands"
        ))
    })?;
    if amount > available {
        return Err(no_capacity(format!(
            "`{name}: {text}` is asked for; this machine has {available}{unit}"
        )));
    }
    Ok(())
}

/// How many whole GPUs are asked for, and of which name.
pub(crate) fn gpus_asked(resources: &ResourceCandidate) -> Option<(&str, usize)> {
    let (name, count) = resources.accelerators.as_ref()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates; a share of a GPU takes it whole"
    )]
    let count = count.ceil().max(0.0) as usize;
    (count > 0).then_some((name.as_str(), count))
}

/// The RESOURCES column: what was asked for, as SkyServe writes it.
pub(crate) fn short(resources: &ResourceCandidate) -> String {
    let mut parts = gpus(resources);
    if parts.is_empty() {
        parts = cpus_and_memory(resources);
    }
    parts.push("...".to_owned());
    format!("1x({})", parts.join(", "))
}

/// The RESOURCES column in verbose mode.
pub(crate) fn full(resources: &ResourceCandidate) -> String {
    let mut parts = gpus(resources);
    parts.extend(cpus_and_memory(resources));
    parts.push(format!("disk={}", resources.disk_size));
    if let Some(tier) = &resources.disk_tier {
        parts.push(format!("disk_tier={tier}"));
    }
    if !resources.ports.is_empty() {
        parts.push(format!("ports={}", resources.ports.join(",")));
    }
    format!("1x({})", parts.join(", "))
}

fn gpus(resources: &ResourceCandidate) -> Vec<String> {
    let gpus = resources.accelerators.as_ref();
    gpus.map(|(name, count)| format!("gpus={name}:{count}"))
        .into_iter()
        .collect()
}

fn cpus_and_memory(resources: &ResourceCandidate) -> Vec<String> {
    let cpus = resources
        .cpus
        .as_deref()
        .map(|text| format!("cpus={}", plain(text)));
    let memory = resources
        .memory
        .as_deref()
        .map(|text| format!("mem={}", plain(text)));
    cpus.into_iter().chain(memory).collect()
}

/// The number in `2`, `2+` and `2.0+`, without trailing zeros.
fn plain(text: &str) -> &str {
    let text = text.trim().trim_end_matches('+');
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

#[expect(clippy::cast_precision_loss, reason = "no machine has 2^52 processors")]
fn cast(count: usize) -> f64 {
    count as f64
}

fn user_fault(message: String) -> ProviderError {
    ProviderError::new(ErrorClass::UserFault, message)
}

/// No room here.
pub(crate) fn no_capacity(message: String) -> ProviderError {
    ProviderError::new(ErrorClass::NoCapacity, message)
}

#[cfg(test)]
mod tests;
