# SPDX-License-Identifier: LGPL-2.1-or-later
"""A proxy before an S3 server that breaks requests by rules, as servers and networks do on bad days:

    with Proxy("http://127.0.0.1:9000", Rule("503", "put", nth=2), Rule("reset-after", chance=0.05), seed=7) as proxy:
        ...  # speak to proxy.url
        proxy.asked["put"], proxy.broken["503", "put"]

A request is read whole before a rule is looked for (but see reset-before), so the server has it whole or not at all.
Standard library only. The kinds of request are those of kind_of(), the faults those of FAULTS.
"""
import collections
import random
import socket
import ssl
import struct
import threading
import urllib.parse


def kind_of(method, target, headers):
    """put, put-new, get, range, head, list, delete, multi-delete; create, part, complete, abort, uploads, parts (of multipart
    uploads); other."""
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(target).query, keep_blank_values=True))
    if "uploads" in query:
        return {"POST": "create", "GET": "uploads"}.get(method, "other")
    if "uploadId" in query:
        return {"PUT": "part", "POST": "complete", "DELETE": "abort", "GET": "parts"}.get(method, "other")
    if "list-type" in query:
        return "list"
    if "delete" in query:
        return "multi-delete"
    if method == "PUT":
        return "put-new" if "if-none-match" in headers else "put"
    if method == "GET":
        return "range" if "range" in headers else "get"
    return {"HEAD": "head", "DELETE": "delete"}.get(method, "other")


class Rule:
    """A fault for requests of a kind (None: all; several: a set): the nth and as many as times (None: all) from there on,
    or each with a chance. when(request) may narrow it down; then() is called as it happens."""

    def __init__(self, fault, kind=None, nth=1, times=1, chance=None, when=None, then=None):
        assert fault in FAULTS, fault
        self.fault, self.kinds = fault, {kind} if isinstance(kind, str) else kind
        self.nth, self.times, self.chance = nth, times, chance
        self.when, self.then, self.seen = when, then, 0

    def strikes(self, request, dice):
        if (self.kinds and request.kind not in self.kinds) or (self.when and not self.when(request)):
            return False
        self.seen += 1
        if self.chance is not None:
            return dice.random() < self.chance
        return self.seen >= self.nth and (self.times is None or self.seen < self.nth + self.times)


class Gone(Exception):
    """The other side has closed the connection."""


class Message:
    """A request or a reply: head with its empty line, body as it came."""

    def __init__(self, head):
        self.head, self.body = head, b""
        first, *lines = head.decode("latin-1").split("\r\n")
        self.first = first.split(" ")
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


class Wire:
    """One end of a connection, with what was read too much of it."""

    def __init__(self, sock):
        self.sock, self.ahead = sock, b""

    def _more(self):
        data = self.sock.recv(1 << 18)
        if not data:
            raise Gone
        return data

    def head(self):
        while b"\r\n\r\n" not in self.ahead:
            self.ahead += self._more()
        head, _, self.ahead = self.ahead.partition(b"\r\n\r\n")
        return Message(head + b"\r\n\r\n")

    def exactly(self, size):
        pieces, have = [self.ahead], len(self.ahead)
        while have < size:
            pieces.append(self._more())
            have += len(pieces[-1])
        whole = b"".join(pieces)
        self.ahead = whole[size:]
        return whole[:size]

    def chunks(self):
        """A chunked body as it is on the wire, without trailers."""
        whole = b""
        while True:
            while b"\r\n" not in self.ahead:
                self.ahead += self._more()
            line, _, self.ahead = self.ahead.partition(b"\r\n")
            size = int(line.split(b";")[0], 16)
            whole += line + b"\r\n" + self.exactly(size + 2)
            if size == 0:
                return whole

    def body(self, message):
        if "chunked" in message.headers.get("transfer-encoding", ""):
            return self.chunks()
        return self.exactly(int(message.headers.get("content-length", 0)))


class Exchange:
    """One request on its way. What answers it returns whether the connection goes on."""

    def __init__(self, proxy, wire, request):
        self.proxy, self.wire, self.request = proxy, wire, request

    def continue_(self):
        if "expect" in self.request.headers:
            self.wire.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def read(self):
        self.continue_()
        self.request.body = self.wire.body(self.request)

    def ask(self):
        """The server's own reply."""
        lines = self.request.head.split(b"\r\n")
        head = b"\r\n".join(line for line in lines if not line.lower().startswith(b"expect:"))
        with socket.create_connection(self.proxy.server, 60) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(head + self.request.body)
            wire = Wire(sock)
            reply = wire.head()
            if self.request.first[0] != "HEAD" and reply.first[1] not in ("204", "304"):
                reply.body = wire.body(reply)
        return reply

    def tell(self, data):
        self.wire.sock.sendall(data)
        return True

    def refuse(self, status, code, more=""):
        body = f"<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>by order of a test</Message></Error>"
        length = f"Content-Length: {len(body)}\r\nContent-Type: application/xml\r\n{more}\r\n"
        return self.tell(f"HTTP/1.1 {status} Broken\r\n{length}{body if self.request.first[0] != 'HEAD' else ''}".encode())

    def reset(self):
        """Without a word, what is still to be sent included."""
        self.wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def half(self):
        """The reply up to the middle of its body; of one without a body, as if there were one."""
        reply = self.ask()
        if reply.body:
            self.tell(reply.head + reply.body[:len(reply.body) // 2])
        elif self.request.first[0] == "HEAD":
            self.tell(reply.head[:len(reply.head) // 2])
        else:
            kept = [line for line in reply.head.split(b"\r\n") if line and not line.lower().startswith(b"content-length")]
            self.tell(b"\r\n".join([*kept, b"Content-Length: 100", b"", b"cut"]))

    def hold(self):
        """Until the client has had enough."""
        self.wire.sock.settimeout(300)
        try:
            while self.wire.sock.recv(65536):
                pass
        except OSError:
            pass
        return False


def reset_in(exchange):
    """In the middle of the request's body, or of the reply's where the request has none."""
    size = int(exchange.request.headers.get("content-length", 0))
    if size:
        exchange.continue_()
        exchange.wire.exactly(size // 2)
    else:
        exchange.half()
    return exchange.reset()


def reset_after(exchange):
    """The server has done it, and nobody hears."""
    exchange.ask()
    return exchange.reset()


def cut_head(exchange):
    """The first line of the reply, and the connection ends in good order."""
    exchange.tell(exchange.ask().head.partition(b"\r\n")[0] + b"\r\n")
    return False


def cut_body(exchange):
    exchange.half()
    return False


def flip(data):
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def damaged(exchange):
    """One bit of the request's body, or of the reply's where the request has none."""
    if exchange.request.body:
        exchange.request.body = flip(exchange.request.body)
    reply = exchange.ask()
    if not exchange.request.body and reply.body:
        reply.body = flip(reply.body)
    return exchange.tell(reply.head + reply.body)


def wrong_etag(exchange):
    reply = exchange.ask()
    lines = [b'ETag: "%032d"' % 0 if line.lower().startswith(b"etag:") else line for line in reply.head.split(b"\r\n")]
    return exchange.tell(b"\r\n".join(lines) + reply.body)


def stall_in(exchange):
    exchange.half()
    return exchange.hold()


def garbage(exchange):
    exchange.tell(b"\x80\x02 this is no HTTP\r\n\r\n")
    return False


def tls_garbage(exchange):
    """Bytes beside the encryption, in the middle of the reply."""
    exchange.half()
    raw = socket.socket(fileno=exchange.wire.sock.detach())
    raw.sendall(b"\x17\x03\x03\x00\x40" + bytes(range(64)))
    exchange.wire.sock = raw
    return False


def tls_handshake(exchange):
    """The connection breaks, and the next one does not get through its handshake."""
    exchange.proxy.bad_handshakes += 1
    return exchange.reset()


# What is done to a request; True where it has read the body itself, or leaves it.
FAULTS = {
    "500": (lambda x: x.refuse(500, "InternalError"), False),
    "503": (lambda x: x.refuse(503, "SlowDown"), False),
    "429": (lambda x: x.refuse(429, "TooManyRequests", "Retry-After: 1\r\n"), False),
    "error-200": (lambda x: x.refuse(200, "InternalError"), False),
    "expired": (lambda x: x.refuse(403, "ExpiredToken"), False),
    "skew": (lambda x: x.refuse(403, "RequestTimeTooSkewed", "Date: Mon, 01 Jan 2001 00:00:00 GMT\r\n"), False),
    "reset-before": (lambda x: x.reset(), True),
    "reset-in": (reset_in, True),
    "reset-after": (reset_after, False),
    "cut-head": (cut_head, False),
    "cut-body": (cut_body, False),
    "damaged": (damaged, False),
    "wrong-etag": (wrong_etag, False),
    "stall": (lambda x: x.hold(), False),
    "stall-in": (stall_in, False),
    "garbage": (garbage, False),
    "tls-garbage": (tls_garbage, False),
    "tls-handshake": (tls_handshake, False),
}


class Proxy:
    def __init__(self, server, *rules, seed=None, certificate=None, keep_alive=True):
        """server: an http:// URL; certificate: a PEM file with its key, and the proxy speaks TLS."""
        url = urllib.parse.urlsplit(server)
        assert url.scheme == "http"
        self.server, self.rules, self.dice = (url.hostname, url.port), list(rules), random.Random(seed)
        self.context, self.keep_alive, self.bad_handshakes = None, keep_alive, 0
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate)
        self.lock, self.open = threading.Lock(), set()
        self.asked, self.broken = collections.Counter(), collections.Counter()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.listener.getsockname()[1]}"

    def __enter__(self):
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()
        with self.lock:
            for sock in self.open:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self.bad_handshakes:
                self.bad_handshakes -= 1
                sock.recv(65536)
                sock.sendall(b"\x80\x02 this is no TLS\r\n")
                sock.close()
                return
            if self.context:
                sock = self.context.wrap_socket(sock, server_side=True)
        except OSError:
            sock.close()
            return
        with self.lock:
            self.open.add(sock)
        wire = Wire(sock)
        try:
            while self._one(wire):
                pass
        except (Gone, OSError):
            pass
        with self.lock:
            self.open.discard(sock)
        wire.sock.close()

    def _one(self, wire):
        request = wire.head()
        request.kind = kind_of(request.first[0], request.first[1], request.headers)
        with self.lock:
            self.asked[request.kind] += 1
            rule = next((rule for rule in self.rules if rule.strikes(request, self.dice)), None)
            if rule:
                self.broken[rule.fault, request.kind] += 1
        if rule and rule.then:
            rule.then()
        exchange = Exchange(self, wire, request)
        act, by_itself = FAULTS[rule.fault] if rule else (None, False)
        if not by_itself:
            exchange.read()
        if act:
            return act(exchange)
        reply = exchange.ask()
        return exchange.tell(reply.head + reply.body) and self.keep_alive
