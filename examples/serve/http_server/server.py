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
import threading
import time
import urllib.parse

VERSION = os.environ.get('VERSION', '1')
REPLICA = os.environ.get('SKYPILOT_SERVE_REPLICA_ID', '-')


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True

    def answer(self, body, kind='text/plain'):
        self.send_response(200)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('X-Version', VERSION)
        self.send_header('X-Replica', REPLICA)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == '/bytes':
            self.answer(b'x' * int(query.get('n', 65536)), 'application/octet-stream')
        elif url.path == '/stream':
            self.stream(float(query.get('seconds', 5)), float(query.get('interval_ms', 100)) / 1000)
        else:
            self.answer(f'Hello from version {VERSION}, replica {REPLICA}\n'.encode())

    do_HEAD = do_GET

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers.get('Content-Length', 0))))

    def stream(self, seconds, interval):
        self.send_response(200)
        self.send_header('Content-Type', 'text/event-stream')
        self.send_header('Transfer-Encoding', 'chunked')
        self.send_header('X-Version', VERSION)
        self.end_headers()
        events = max(1, int(seconds / interval))
        for number in range(events):
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
    request_queue_size = 1024
    daemon_threads = False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--port', type=int, default=int(os.environ.get('PORT', 8081)))
    server = Server(('0.0.0.0', parser.parse_args().port), Handler)

    def stop(*_):
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    print(f'version {VERSION} listens on port {server.server_port}', flush=True)
    server.serve_forever()


if __name__ == '__main__':
    main()
