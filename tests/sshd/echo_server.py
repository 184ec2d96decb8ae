"""Sends back what comes, on a port of this machine's loopback."""

import socketserver
import sys


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while content := self.request.recv(1 << 16):
            self.request.sendall(content)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True  # of a port that is held for it
    daemon_threads = True


with Server(("127.0.0.1", int(sys.argv[1])), Echo) as server:
    server.serve_forever()
