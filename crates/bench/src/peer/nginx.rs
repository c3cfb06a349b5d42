//! nginx as a proxy that is meant to be fast.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::{Addresses, OUTPUT, Setup, Started, free_address, workers};
use crate::process::Process;

pub(super) fn start(directory: &Path, setup: &Setup<'_>) -> anyhow::Result<Started> {
    let plain = free_address()?;
    let tls = match setup.certificate {
        Some(_) => Ok(free_address()?),
        None => Err("there is no certificate".to_owned()),
    };
    let addresses = Addresses {
        plain,
        streams: plain,
        tls,
    };
    let file = directory.join("nginx.conf");
    fs::write(&file, configuration(directory, setup, &addresses))?;
    let mut words = vec!["nginx".into(), "-p".into(), directory.into()];
    words.extend(["-c".into(), file.into()]);
    let process = Process::start(&words, &directory.join(OUTPUT))?;
    Ok(Started {
        process,
        addresses,
        control: None,
    })
}

fn configuration(directory: &Path, setup: &Setup<'_>, addresses: &Addresses) -> String {
    let mut text = main_section(directory);
    text.push_str("  upstream replicas {\n    zone replicas 1m;\n    least_conn;\n");
    for backend in setup.backends {
        let _ = writeln!(text, "    server {backend} max_fails=0;");
    }
    text.push_str(
        "    keepalive 512;\n    keepalive_requests 100000000;\n    keepalive_timeout 600s;\n  }\n",
    );
    let listen = format!("listen {} reuseport backlog=4096;", addresses.plain);
    text.push_str(&server(&listen));
    if let (Ok(tls), Some(certificate)) = (&addresses.tls, setup.certificate) {
        let listen = format!(
            "listen {tls} ssl reuseport backlog=4096;\n    \
             ssl_certificate {};\n    ssl_certificate_key {};\n    \
             ssl_protocols TLSv1.2 TLSv1.3;\n    ssl_session_cache shared:tls:1m;",
            certificate.chain.display(),
            certificate.key.display(),
        );
        text.push_str(&server(&listen));
    }
    text.push_str("}\n");
    text
}

fn main_section(directory: &Path) -> String {
    let home = directory.display();
    // Workers of a master that is root would be another user, who may not enter the directory.
    let user = if rustix::process::getuid().is_root() {
        "user root;\n"
    } else {
        ""
    };
    let workers = workers();
    format!(
        "daemon off;
{user}worker_processes {workers};
worker_rlimit_nofile 20000;
pid {home}/nginx.pid;
error_log stderr error;
events {{
  use epoll;
  multi_accept on;
  worker_connections 9000;
}}
http {{
  access_log off;
  server_tokens off;
  tcp_nodelay on;
  keepalive_timeout 600s;
  keepalive_requests 100000000;
  client_max_body_size 0;
  client_body_buffer_size 32k;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
"
    )
}

/// Large answers get buffers; streams are passed on as they come.
fn server(listen: &str) -> String {
    format!(
        "  server {{
    {listen}
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_request_buffering off;
    proxy_buffer_size 8k;
    proxy_buffers 8 16k;
    proxy_busy_buffers_size 64k;
    proxy_read_timeout 600s;
    location / {{ proxy_pass http://replicas; }}
    location /sse {{ proxy_buffering off; proxy_pass http://replicas; }}
    location /slow {{ proxy_buffering off; proxy_pass http://replicas; }}
  }}
"
    )
}
