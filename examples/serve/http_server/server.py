"""A small HTTP/1.1 server with the standard library only.

Listens on --port, else $PORT, else 8081. On TERM it stops accepting, finishes what is in flight, and ends.

  GET  /                      the version and who answered
  GET  /health                200
  GET  /bytes?n=65536         so many bytes
  GET  /stream?seconds=5      server-sent events, numbered, every interval_ms (100)
  POST /echo                  the body, as it came
"""

import argparse
import http.server
import os
import signal
import socket
import socketserver
import threading
import time
import urllib.parse

VERSION = os.environ.get('VERSION', '1')
REPLICA = os.environ.get('SKYPILOT_SERVE_REPLICA_ID', '-')
LARGEST_ANSWER = 64 * 1024 * 1024


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    wbufsize = -1  # One packet for head and body.

    def handle_one_request(self):
        if self.server.begins_to_wait(self.connection):
            super().handle_one_request()
        else:
            self.close_connection = True

    def parse_request(self):
        self.server.ends_to_wait(self.connection)
        return super().parse_request()

    def finish(self):
        self.server.ends_to_wait(self.connection)
        try:
            super().finish()
        except OSError:
            pass  # The client has gone.

    def begin(self, status, kind, **headers):
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('X-Version', VERSION)
        self.send_header('X-Replica', REPLICA)
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), value)
        if self.server.stopping:
            self.send_header('Connection', 'close')
        self.end_headers()

    def answer(self, body, kind='text/plain', status=200):
        self.begin(status, kind, Content_Length=str(len(body)))
        if self.command != 'HEAD':
            self.wfile.write(body)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == '/bytes':
            count = min(int(query.get('n', 65536)), LARGEST_ANSWER)
            self.answer(b'x' * count, 'application/octet-stream')
        elif url.path == '/stream':
            self.stream(float(query.get('seconds', 5)), float(query.get('interval_ms', 100)) / 1000)
        elif url.path in ('/', '/health'):
            self.answer(f'Hello from version {VERSION}, replica {REPLICA}\n'.encode())
        else:
            self.answer(b'not found\n', status=404)

    do_HEAD = do_GET

    def do_POST(self):
        self.answer(self.body(), self.headers.get('Content-Type', 'application/octet-stream'))

    def body(self):
        if 'chunked' not in self.headers.get('Transfer-Encoding', ''):
            return self.rfile.read(int(self.headers.get('Content-Length', 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b';')[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # Trailers.
        return b''.join(chunks)

    def stream(self, seconds, interval):
        self.begin(200, 'text/event-stream', Transfer_Encoding='chunked', Cache_Control='no-store')
        if self.command == 'HEAD':
            return
        for number in range(max(1, round(seconds / interval))):
            self.chunk(f'data: {number}\n\n')
            time.sleep(interval)
        self.chunk('data: [DONE]\n\n')
        self.wfile.write(b'0\r\n\r\n')

    def chunk(self, text):
        data = text.encode()
        self.wfile.write(b'%x\r\n%s\r\n' % (len(data), data))
        self.wfile.flush()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """A thread for each connection. Its end waits for those in the middle of a request, not for those that only
    keep their connection."""

    request_queue_size = 1024
    daemon_threads = False

    def __init__(self, port):
        super().__init__(('0.0.0.0', port), Handler)
        self.stopping = False
        self.waiting = set()
        self.lock = threading.Lock()

    def server_bind(self):
        # HTTPServer asks a name server who we are, which takes seconds where none answers.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def begins_to_wait(self, connection):
        """A connection waits for its next request; False when there shall be none."""
        with self.lock:
            if not self.stopping:
                self.waiting.add(connection)
            return not self.stopping

    def ends_to_wait(self, connection):
        with self.lock:
            self.waiting.discard(connection)

    def stop(self, *_):
        threading.Thread(target=self.stop_now).start()

    def stop_now(self):
        self.shutdown()
        with self.lock:
            self.stopping = True
            for connection in self.waiting:
                try:
                    connection.shutdown(socket.SHUT_RD)
                except OSError:
                    pass  # The client was quicker.


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--port', type=int, default=int(os.environ.get('PORT', 8081)))
    with Server(parser.parse_args().port) as server:
        signal.signal(signal.SIGTERM, server.stop)
        signal.signal(signal.SIGINT, server.stop)
        print(f'version {VERSION} listens on port {server.server_port}', flush=True)
        server.serve_forever(poll_interval=0.1)


if __name__ == '__main__':
    main()
