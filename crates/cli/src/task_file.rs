//! From what was typed to a task: the YAML file, the options that replace its fields, and the files it names.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use spec::{
    Checked, Diagnostic, FileMountSource, Overrides, Purpose, SourceText, Task, UpdateFlags,
    Workdir, check_task,
};

use crate::args::TaskArguments;
use crate::failure::Failure;
use crate::output;

/// The largest file read: a little more than `spec` accepts, so that it is `spec` that refuses it.
const READ_LIMIT_BYTES: u64 = spec::MAX_SOURCE_BYTES as u64 + 1;

/// An accepted YAML.
pub(crate) struct TaskFile {
    /// What it means.
    pub(crate) task: Task,
    /// What was written.
    pub(crate) yaml: String,
    /// Where relative paths start: where the user stands.
    pub(crate) base_dir: PathBuf,
    /// Where the YAML is, unless it came from standard input.
    pub(crate) yaml_path: Option<PathBuf>,
}

/// Reads a source; `-` is standard input.
pub(crate) fn read(file: &str) -> Result<SourceText, Failure> {
    let mut text = Vec::new();
    let outcome = if file == "-" {
        io::stdin()
            .lock()
            .take(READ_LIMIT_BYTES)
            .read_to_end(&mut text)
    } else {
        fs::File::open(file).and_then(|opened| opened.take(READ_LIMIT_BYTES).read_to_end(&mut text))
    };
    outcome.map_err(|error| Failure::Refused(format!("cannot read {file}: {error}")))?;
    Ok(SourceText::new(file, text))
}

/// Reads and checks the YAML of a service of this name. Findings are printed; errors are a failure that was told.
pub(crate) fn load(
    file: &str,
    arguments: &TaskArguments,
    name: &str,
    update: UpdateFlags,
) -> Result<TaskFile, Failure> {
    let source = read(file)?;
    let mut overrides = overrides(arguments)?;
    overrides.name = Some(name.to_owned());
    overrides.update = update;
    let Checked { task, diagnostics } = check_task(&source, &overrides, Purpose::Service);
    print(&diagnostics, &source);
    let Some(mut task) = task else {
        return Err(Failure::Told);
    };
    let base_dir = std::env::current_dir()?;
    files_exist(&task, &base_dir)?;
    if let Some(tls) = task
        .service
        .as_mut()
        .and_then(|service| service.tls.as_mut())
    {
        // The proxy, which reads them again whenever they change, stands elsewhere.
        for path in [&mut tls.keyfile, &mut tls.certfile] {
            *path = absolute(&base_dir, path)?;
        }
    }
    let yaml = String::from_utf8_lossy(&source.text).into_owned();
    let yaml_path = fs::canonicalize(file).ok().filter(|_| file != "-");
    Ok(TaskFile {
        task,
        yaml,
        base_dir,
        yaml_path,
    })
}

/// Prints findings with their excerpts.
pub(crate) fn print(diagnostics: &[Diagnostic], source: &SourceText) {
    for diagnostic in diagnostics {
        output::error_text(&diagnostic.render(source, output::stderr_has_colour()));
    }
}

/// What the options say.
pub(crate) fn overrides(arguments: &TaskArguments) -> Result<Overrides, Failure> {
    let mut envs = Vec::new();
    for file in &arguments.env_file {
        envs.extend(env_file(file)?);
    }
    for text in &arguments.env {
        envs.push(pair(text, "--env")?);
    }
    let mut secrets = Vec::new();
    for file in &arguments.secret_file {
        secrets.extend(env_file(file)?);
    }
    for text in &arguments.secret {
        secrets.push(pair(text, "--secret")?);
    }
    let use_spot = match (arguments.use_spot, arguments.no_use_spot) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    Ok(Overrides {
        envs,
        secrets,
        name: None,
        workdir: arguments.workdir.clone(),
        infra: arguments.infra.clone(),
        cloud: arguments.cloud.clone(),
        region: arguments.region.clone(),
        zone: arguments.zone.clone(),
        num_nodes: arguments.num_nodes,
        cpus: arguments.cpus.clone(),
        memory: arguments.memory.clone(),
        gpus: arguments.gpus.clone(),
        instance_type: arguments.instance_type.clone(),
        use_spot,
        image_id: arguments.image_id.clone(),
        disk_size: arguments.disk_size.clone(),
        disk_tier: arguments.disk_tier.clone(),
        network_tier: arguments.network_tier.clone(),
        local_disk: arguments.local_disk.clone(),
        ports: arguments.ports.clone(),
        update: UpdateFlags::default(),
    })
}

fn env_file(file: &str) -> Result<Vec<(String, String)>, Failure> {
    let source = read(file)?;
    spec::parse_env_file(&source).map_err(|diagnostics| {
        print(&diagnostics, &source);
        Failure::Told
    })
}

/// `NAME=VALUE`, or `NAME` with the value it has here.
fn pair(text: &str, option: &str) -> Result<(String, String), Failure> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => (
            text,
            std::env::var(text).map_err(|_| {
                Failure::Usage(format!(
                    "{option} {text}: it has no value here; give one: {option} {text}=VALUE"
                ))
            })?,
        ),
    };
    if name.is_empty() {
        return Err(Failure::Usage(format!(
            "{option}: a name is missing before '='"
        )));
    }
    Ok((name.to_owned(), value))
}

/// Says at once what the server would refuse a moment later.
fn files_exist(task: &Task, base_dir: &Path) -> Result<(), Failure> {
    let missing = |what: &str, path: &str| {
        let absolute = resolve(base_dir, path);
        Failure::Refused(format!(
            "{what} '{path}' does not exist ({})",
            absolute.display()
        ))
    };
    if let Some(Workdir::Local(path)) = &task.workdir
        && !resolve(base_dir, path).is_dir()
    {
        return Err(missing("workdir", path));
    }
    for mount in &task.file_mounts {
        if let FileMountSource::Local(path) = &mount.source
            && !resolve(base_dir, path).exists()
        {
            return Err(missing("the source of a file mount", path));
        }
    }
    let Some(tls) = task
        .service
        .as_ref()
        .and_then(|service| service.tls.as_ref())
    else {
        return Ok(());
    };
    for path in [&tls.keyfile, &tls.certfile] {
        if !resolve(base_dir, path).is_file() {
            return Err(missing("the TLS file", path));
        }
    }
    Ok(())
}

/// The same as text, which is what the task has room for.
fn absolute(base_dir: &Path, path: &str) -> Result<String, Failure> {
    resolve(base_dir, path).into_os_string().into_string().map_err(|path| {
        Failure::Refused(format!(
            "the TLS file '{}' lies in a folder whose name is not UTF-8; give a path without it",
            path.display()
        ))
    })
}

fn resolve(base_dir: &Path, path: &str) -> PathBuf {
    match (path.strip_prefix('~'), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            PathBuf::from(home).join(rest.trim_start_matches('/'))
        }
        _ => base_dir.join(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_has_a_name_and_a_value() {
        assert_eq!(
            pair("A=1", "--env").unwrap(),
            ("A".to_owned(), "1".to_owned())
        );
        assert_eq!(
            pair("A=", "--env").unwrap(),
            ("A".to_owned(), String::new())
        );
        assert_eq!(pair("A=b=c", "--env").unwrap().1, "b=c");
        assert_eq!(
            pair("PATH", "--env").unwrap().1,
            std::env::var("PATH").unwrap()
        );
        assert!(pair("=1", "--env").is_err());
        assert!(pair("SURELY_NOT_SET_ANYWHERE", "--secret").is_err());
    }
}
