//! Load from wrk, where it is installed: the tool that others know the figures of.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::load::{Outcome, Request};
use crate::process::Process;

/// Starts the line in which the script tells the result.
const MARK: &str = "BENCH-RESULT";
/// What wrk gets beyond the time of the load.
const MARGIN: Duration = Duration::from_secs(15);

/// The script that wrk is given: the request, and a line of figures at the end.
fn script(request: &Request) -> String {
    let mut script = format!("wrk.method = \"{}\"\n", request.method);
    if request.close {
        script.push_str("wrk.headers[\"Connection\"] = \"close\"\n");
    }
    if request.body_bytes > 0 {
        script.push_str("wrk.headers[\"Content-Type\"] = \"application/json\"\n");
        let body = format!("wrk.body = string.rep(\"x\", {})\n", request.body_bytes);
        script.push_str(&body);
    }
    script.push_str(&format!(
        "done = function(summary, latency, requests)\n  \
           local e = summary.errors\n  \
           io.write(string.format(\"{MARK} %d %d %d %d %d\\n\", summary.requests, summary.duration,\n    \
             e.connect + e.read + e.write + e.status + e.timeout,\n    \
             latency:percentile(50), latency:percentile(99)))\nend\n"
    ));
    script
}

/// One thread of wrk with `connections` for `seconds`. Files go to `directory`.
///
/// # Errors
///
/// When wrk cannot be run or does not tell its result, and when the run is interrupted.
pub(crate) fn run(
    url: &str,
    request: &Request,
    connections: usize,
    seconds: u64,
    directory: &Path,
) -> anyhow::Result<Outcome> {
    let file = directory.join("request.lua");
    fs::write(&file, script(request))?;
    let mut words: Vec<OsString> = vec!["wrk".into(), "-t1".into()];
    words.push(format!("-c{connections}").into());
    words.push(format!("-d{seconds}s").into());
    words.push("-s".into());
    words.push(file.into());
    words.push(format!("{url}{}", request.path).into());
    let log = directory.join("wrk.log");
    let mut process = Process::start(&words, &log)?;
    process.wait(Duration::from_secs(seconds) + MARGIN)?;
    let output = fs::read_to_string(&log)?;
    parse(&output).with_context(|| format!("wrk told no result: {}", output.trim()))
}

fn parse(output: &str) -> Option<Outcome> {
    let line = output.lines().find_map(|line| line.strip_prefix(MARK))?;
    let numbers: Vec<u64> = line
        .split_whitespace()
        .map(|number| number.parse().ok())
        .collect::<Option<_>>()?;
    let [requests, elapsed_us, errors, p50_us, p99_us] = numbers[..] else {
        return None;
    };
    // It counts answers with an error status as requests too; connections that failed are none.
    Some(Outcome {
        requests: requests.saturating_sub(errors),
        errors,
        elapsed: Duration::from_micros(elapsed_us),
        p50_ns: Some(p50_us * 1000),
        p99_ns: Some(p99_us * 1000),
    })
}

/// The first line of what `program` says about itself when called with `argument`, or `None` where there is no such
/// program.
pub(crate) fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    Some(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Fails where wrk is called for but is not there.
pub(crate) fn require() -> anyhow::Result<()> {
    if version("wrk", "--version").is_none() {
        bail!("wrk is not on PATH");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_has_the_whole_request() {
        let request = Request {
            method: "POST",
            path: "/generate",
            body_bytes: 16_384,
            close: true,
        };
        let script = script(&request);
        for part in [
            "\"POST\"",
            "\"Connection\"",
            "string.rep(\"x\", 16384)",
            MARK,
        ] {
            assert!(script.contains(part), "{part} in {script}");
        }
    }

    #[test]
    fn the_result_is_read_from_among_other_lines() {
        let output = "Running 4s test\n 1 threads\nBENCH-RESULT 400 4000100 3 250 1990\nDone\n";
        let outcome = parse(output).unwrap();
        assert_eq!((outcome.requests, outcome.errors), (397, 3));
        assert_eq!(outcome.elapsed, Duration::from_micros(4_000_100));
        assert_eq!(
            (outcome.p50_ns, outcome.p99_ns),
            (Some(250_000), Some(1_990_000))
        );
        assert_eq!(
            parse("unable to connect to 127.0.0.1:1 Connection refused"),
            None
        );
        assert_eq!(parse("BENCH-RESULT 1 2 x 4 5"), None);
    }
}
