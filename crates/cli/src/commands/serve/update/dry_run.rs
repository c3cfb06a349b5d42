//! `sky serve update --dry-run`.

use std::process::ExitCode;

use api::dry_run::Forecast;
use api::{Client, DryRun, UpdateRequest};

use crate::failure::Failure;
use crate::output::{self, duration, one_line};

pub(super) async fn run(
    client: &Client,
    name: &str,
    request: &UpdateRequest,
    json: bool,
) -> Result<ExitCode, Failure> {
    let run = client.dry_run(name, request).await?;
    if json {
        output::json(&run)?;
    } else {
        output::print(&text(&run))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(run: &DryRun) -> String {
    let mut text = format!(
        "Updating service '{}' to version {} ({}) would do this; nothing has been changed:\n",
        one_line(&run.name),
        run.version,
        run.mode.as_str()
    );
    for (what, told) in [
        ("reused", replicas(&run.reused)),
        ("restarted", replicas(&run.restarted)),
        ("launched", launched(run.launched)),
        ("stopped", replicas(&run.stopped)),
        ("peak", peak(run)),
        ("extra cost", cost(run.extra_cost_per_hour)),
        ("capacity", capacity(run)),
        ("time", time(run)),
    ] {
        text.push_str(&format!("  {what:<11}{told}\n"));
    }
    if let Forecast::Waits { summary } = &run.outcome {
        text.push_str(&format!(
            "It would not end by itself: {}\n",
            one_line(summary)
        ));
    }
    text
}

fn replicas(ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    match ids.as_slice() {
        [] => "none".to_owned(),
        [one] => format!("replica {one}"),
        _ => format!("replicas {}", ids.join(", ")),
    }
}

fn launched(count: u32) -> String {
    match count {
        0 => "none".to_owned(),
        1 => "1 replica".to_owned(),
        _ => format!("{count} replicas"),
    }
}

fn peak(run: &DryRun) -> String {
    let more = run.peak_replicas.saturating_sub(run.replicas_now);
    let than = if more == 0 {
        "no more than now".to_owned()
    } else {
        format!("{more} more than now")
    };
    format!(
        "{}, {than}; {} afterwards",
        launched(run.peak_replicas),
        run.replicas_after
    )
}

fn cost(dollars_per_hour: f64) -> String {
    if dollars_per_hour > 0.0 {
        format!("${dollars_per_hour:.2} per hour at the peak")
    } else {
        "none: this machine".to_owned()
    }
}

fn capacity(run: &DryRun) -> String {
    format!(
        "{} of the {} with traffic now, at the least",
        run.lowest_serving, run.serving_now
    )
}

fn time(run: &DryRun) -> String {
    let Some((seconds, measured)) = run.duration_seconds.zip(run.measured.as_ref()) else {
        return "not known: no replica of this service was ever seen to become ready".to_owned();
    };
    let start = measured.provision_seconds + measured.start_seconds;
    let on = if measured.replicas == 1 {
        "1 replica".to_owned()
    } else {
        format!("{} replicas", measured.replicas)
    };
    let about = if seconds < 1.0 { "" } else { "about " };
    let mut told = format!(
        "{about}{} (a launch took {}, measured on {on})",
        duration::absolute(0.0, seconds),
        duration::absolute(0.0, start)
    );
    if run.promotions > 0 {
        let times = if run.promotions == 1 {
            "once".to_owned()
        } else {
            format!("{} times", run.promotions)
        };
        told.push_str(&format!(", and until it is promoted {times}"));
    }
    if run
        .steps
        .iter()
        .any(|step| step.kind == "undo_window_opened")
    {
        told.push_str("; then the old version stands by for its undo window");
    }
    if !run.stopped.is_empty() {
        let drain = duration::absolute(0.0, run.drain_timeout_seconds);
        told.push_str(&format!(
            "; requests in flight may keep what is stopped for up to {drain} more"
        ));
    }
    told
}
