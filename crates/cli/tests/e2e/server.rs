//! The server's own life: started, stopped, and what goes on without it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::app::{App, Network};

/// The status line of an answer of the endpoint, or why there is none.
fn answer(endpoint: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(endpoint)?;
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn stopping_everything_spares_a_data_plane_that_is_needed() {
    let app = App::new(Network::Auto);
    let sky = &app.sky;
    app.up(1);
    let endpoint = sky.ok(&["serve", "status", "web", "--endpoint"]).out;
    let endpoint = endpoint.trim();
    // With the server running, and again when it is stopped already: then only the database knows.
    for _ in 0..2 {
        let told = sky.ok(&["api", "stop", "--all"]).out;
        assert!(told.contains("Replicas and endpoints go on"), "{told}");
        assert_eq!(answer(endpoint).unwrap(), "HTTP/1.1 200 OK");
    }
    sky.ok(&["serve", "down", "web", "-y", "--wait=60"]);
    let told = sky.ok(&["api", "stop", "--all"]).out;
    assert!(told.contains("The proxy is told to end."), "{told}");
}

/// A command that comes while the server stops starts the next one; that is no reason to say that it does not stop.
#[test]
fn stopping_ends_though_another_command_starts_the_next_server() {
    let app = App::new(Network::Auto);
    let sky = &app.sky;
    sky.ok(&["api", "start"]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                // Whether it finds a server, or one that is just going, is not the matter.
                sky.run(&["serve", "status"]);
            }
        });
        let stopped: Vec<String> = (0..3).map(|_| sky.run(&["api", "stop"]).err).collect();
        done.store(true, Ordering::SeqCst);
        let complaints = stopped.iter().filter(|err| err.contains("does not stop"));
        assert_eq!(complaints.count(), 0, "{stopped:?}");
    });
}
