"""Routes and JSON in the manner of FastAPI, with the standard library only."""

import http.server
import json
import os

ROUTES = {}
TOKEN = os.environ['PROBE_TOKEN']


def post(path):
    return lambda function: ROUTES.setdefault(path, function)


@post('/v1/completions')
def completions(body):
    return {'choices': [{'text': body['prompt'][::-1][: body.get('max_tokens', 16)]}]}


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        status, answer = 404, {'detail': 'Not Found'}
        if self.headers.get('Authorization') != f'Bearer {TOKEN}':
            status, answer = 401, {'detail': 'Unauthorized'}
        elif self.path in ROUTES:
            try:
                status, answer = 200, ROUTES[self.path](json.loads(body))
            except (KeyError, TypeError, ValueError) as error:
                status, answer = 422, {'detail': str(error)}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(('0.0.0.0', int(os.environ.get('PORT', 8000))), App).serve_forever()
