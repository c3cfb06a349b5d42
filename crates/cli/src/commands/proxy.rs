//! `sky proxy hold` and `sky proxy work`: the two processes of the data plane.

use std::ffi::OsString;
use std::process::ExitCode;

use proxy::{ProxyError, ProxyPaths};

use crate::failure::Failure;
use crate::{output, server_process};

fn paths() -> Result<ProxyPaths, Failure> {
    Ok(ProxyPaths {
        home: server_process::home()?.path().to_owned(),
    })
}

fn command(part: &str) -> Result<Vec<OsString>, Failure> {
    Ok(vec![
        std::env::current_exe()?.into(),
        "proxy".into(),
        part.into(),
    ])
}

pub(crate) fn hold() -> Result<ExitCode, Failure> {
    match proxy::run_holder(&paths()?, command("work")?) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error @ ProxyError::AlreadyRunning { .. }) => {
            output::line(&error.to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(Failure::Refused(error.to_string())),
    }
}

pub(crate) fn work() -> Result<ExitCode, Failure> {
    let failed = |error: ProxyError| Failure::Refused(error.to_string());
    let holder = proxy::inherited_holder().map_err(failed)?;
    proxy::run_worker(&paths()?, holder, command("hold")?).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}
