//! The app that the tests serve: the example server, writing down each POST it was given.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::Installation;

/// Server of the example, with one more thing: it notes the id of each POST, so that one done twice is seen.
const WRAPPER: &str = "
import os, server
class Handler(server.Handler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        with open(os.environ['POSTS'], 'ab', 0) as posts:
            posts.write(body.split(b';')[0] + b'\\n')
        self.answer(body)
server.Handler = Handler
server.main()
";

pub(crate) struct App {
    pub(crate) sky: Installation,
    folder: PathBuf,
}

/// How this test's replicas are networked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// As the machine allows.
    Auto,
    /// The host's, with `PORT`.
    Shared,
}

impl App {
    pub(crate) fn new(network: Network) -> Self {
        let network = match network {
            Network::Auto => "auto",
            Network::Shared => "shared",
        };
        let sky = Installation::new(
            env!("CARGO_BIN_EXE_sky"),
            &[("SKYSERVE_LOCAL_NETWORK", network)],
        );
        let folder = sky.work().join("app");
        fs::create_dir_all(&folder).unwrap();
        let example =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/serve/http_server");
        fs::copy(example.join("server.py"), folder.join("server.py")).unwrap();
        fs::write(folder.join("app.py"), WRAPPER).unwrap();
        Self { sky, folder }
    }

    /// Writes the YAML of a version and returns its name, to be used from the work folder.
    pub(crate) fn yaml(&self, version: &str, replicas: u32) -> String {
        self.yaml_with(version, replicas, "python3 app.py", "")
    }

    /// The same with other `run` text and more YAML behind it.
    pub(crate) fn yaml_with(&self, version: &str, replicas: u32, run: &str, more: &str) -> String {
        let posts = self.folder.parent().unwrap().join("posts");
        let posts = posts.display();
        let run = run.replace('\n', "\n  ");
        let name = format!("v{version}-{replicas}.yaml");
        let yaml = format!(
            "service:\n  readiness_probe:\n    path: /health\n    initial_delay_seconds: 5\n  replicas: {replicas}\n\
             resources:\n  ports: 8081\n  cpus: 1+\nworkdir: app\nenvs:\n  VERSION: \"{version}\"\n  POSTS: {posts}\n\
             {more}run: |\n  {run}\n"
        );
        fs::write(self.sky.work().join(&name), yaml).unwrap();
        name
    }

    /// Brings version 1 up with this many replicas and returns the endpoint.
    pub(crate) fn up(&self, replicas: u32) -> String {
        let yaml = self.yaml("1", replicas);
        self.sky
            .ok(&["serve", "up", &yaml, "-n", "web", "-y", "--wait=60"]);
        self.sky
            .ok(&["serve", "status", "web", "--endpoint"])
            .out
            .trim()
            .to_owned()
    }

    /// Each POST reached a replica at most once.
    pub(crate) fn assert_no_post_twice(&self) {
        let posts = fs::read_to_string(self.sky.work().join("posts")).unwrap_or_default();
        let mut ids: Vec<&str> = posts.lines().collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "a POST was done twice");
    }
}

/// Whether replicas get networks of their own here.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
