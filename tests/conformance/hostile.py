# SPDX-License-Identifier: LGPL-2.1-or-later
"""An HTTP server that answers as a test tells it: for what a real one does only on bad days."""
import http.server
import threading


class Request:
    def __init__(self, handler):
        self.method = handler.command
        self.path = handler.path
        self.headers = handler.headers
        self.body = handler.rfile.read(int(handler.headers.get("content-length", 0)))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self):
        request = Request(self)
        with self.server.lock:
            self.server.requests.append(request)
            reply = self.server.reply(request)
        if reply is None:
            self.close_connection = True
            return
        status, headers, body = reply[:3]
        cut = reply[3] if len(reply) > 3 else None
        self.send_response_only(status)
        names = {name.lower() for name in headers}
        for name, value in headers.items():
            self.send_header(name, value)
        if "content-length" not in names:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if request.method != "HEAD":
            self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True

    def handle_expect_100(self):
        return super().handle_expect_100() if self.server.continues else True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

    def log_message(self, *args):
        pass


class Hostile(http.server.ThreadingHTTPServer):
    """reply(request) gives (status, headers, body[, bytes of body before the connection ends]), or
    None: the connection ends without a word. continues: whether it says 100 Continue where it is asked to;
    curl sends again by itself only what has had no answer at all, not even that."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.continues = True
        self.requests = []
        self.reply = lambda request: (200, {}, b"")
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.env = {"S3_ENDPOINT": self.url, "S3_BUCKET": "bucket", "S3_ACCESS_KEY": "key",
                    "S3_SECRET_KEY": "secret", "S3_REGION": "us-east-1"}

    def handle_error(self, request, client_address):
        pass

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.shutdown()
        self.server_close()


def unheard(reply, match):
    """reply, but the answer to the first request that matches gets lost."""
    lost = []

    def answer(request):
        done = reply(request)
        if lost or not match(request):
            return done
        lost.append(request)
        return None
    return answer


def fault(status, code, headers=None, more=""):
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message>{more}</Error>"
    return status, headers or {}, body.encode()


def page(keys, truncated):
    objects = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    body = (f"<ListBucketResult>{objects}<IsTruncated>{str(truncated).lower()}</IsTruncated>"
            "</ListBucketResult>")
    return 200, {}, body.encode()
