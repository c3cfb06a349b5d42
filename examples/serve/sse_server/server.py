"""Streams numbered server-sent events with the standard library only; a stand-in for a model's tokens."""

import http.server
import os
import time

RATE = float(os.environ.get('EVENTS_PER_SECOND', 10))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        streams = self.path.startswith('/stream')
        self.send_response(200)
        if not streams:
            self.send_header('Content-Length', '3')
            self.end_headers()
            self.wfile.write(b'ok\n')
            return
        self.send_header('Content-Type', 'text/event-stream')
        self.send_header('Cache-Control', 'no-store')
        self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        for number in range(int(60 * RATE)):
            event = f'data: token {number}\n\n'.encode()
            self.wfile.write(b'%x\r\n%s\r\n' % (len(event), event))
            time.sleep(1 / RATE)
        self.wfile.write(b'0\r\n\r\n')

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(('0.0.0.0', int(os.environ.get('PORT', 8090))), Handler).serve_forever()
