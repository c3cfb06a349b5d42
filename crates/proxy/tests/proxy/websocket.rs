//! A real WebSocket client and a real server (python's `websockets`) with the proxy between them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::support::process::Proxy;

/// Answers every message with itself and tells its port.
const SERVER: &str = r#"
import asyncio, websockets
async def echo(socket, path=None):
    async for message in socket:
        await socket.send(message)
async def main():
    server = await websockets.serve(echo, "127.0.0.1", 0, max_size=None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Future()
asyncio.run(main())
"#;

/// Text, a large binary message in fragments, pings, many messages at once, and a close with a code.
const CLIENT: &str = r#"
import asyncio, os, sys, websockets
async def main():
    async with websockets.connect(sys.argv[1], max_size=None) as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
        large = os.urandom(3_000_000)
        await socket.send([large[:1_000_000], large[1_000_000:]])
        assert await socket.recv() == large
        await asyncio.wait_for(await socket.ping(), 10)
        await asyncio.gather(*(socket.send(str(number)) for number in range(1000)))
        got = sorted([int(await socket.recv()) for _ in range(1000)])
        assert got == list(range(1000))
        await socket.close(1000, "done")
        assert socket.close_code == 1000, socket.close_code
asyncio.run(main())
print("passed")
"#;

/// A python that has the library: the first in the path, or the system's.
fn python() -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        Command::new(python)
            .args(["-c", "import websockets"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

/// Ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_client_and_a_real_server_talk_through_it() {
    let Some(python) = python() else {
        println!("skipped: python3 has no module websockets");
        return;
    };
    let child = Command::new(python)
        .args(["-c", SERVER])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut server = Server(child);
    let mut port = String::new();
    let output = server.0.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut port).unwrap();
    let replica: SocketAddr = format!("127.0.0.1:{}", port.trim()).parse().unwrap();
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[replica]);
    let client = Command::new(python)
        .args(["-c", CLIENT, &format!("ws://{endpoint}/chat")])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&client.stderr);
    assert_eq!(
        String::from_utf8_lossy(&client.stdout).trim(),
        "passed",
        "{error}"
    );
    controller.until_in_flight(1, 0);
}
