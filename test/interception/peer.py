"""Sockets that a test needs in another network namespace, under another uid. Says what happens in lines of JSON."""
import concurrent.futures
import http.server as http_server
import json
import os
import select
import socket
import sys
import threading

WAIT = 5  # seconds: what takes so long is stuck


def say(**fields):
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def serve_each(listener, one):
    """Gives each connection to one() in a thread of its own, until standard input ends."""
    say(event="listening")

    def accept():
        while True:
            threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def outcome(do):
    """The answer, or the name of the error; `stuck` for what neither works nor fails."""
    try:
        return do()
    except (TimeoutError, socket.timeout):
        return "stuck"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)


def dial(kind, host, port, text="hello", local=0):
    """Sends a text and returns the answer; a datagram is sent twice, as an error comes with the second."""
    with socket.socket(family(host), kind) as peer:
        peer.settimeout(WAIT)
        if local:
            peer.bind(("", local))
        peer.connect((host, port))
        if kind == socket.SOCK_STREAM:
            peer.sendall(text.encode())
            return peer.recv(100).decode()
        peer.send(text.encode())
        if text != "once":
            select.select([peer], [], [], 0.2)
        return peer.recv(100).decode()


def raw(host, protocol):
    with socket.socket(family(host), socket.SOCK_RAW, protocol) as peer:
        peer.settimeout(WAIT)
        peer.connect((host, 0))
        echo = (8 if family(host) == socket.AF_INET else 128).to_bytes(1, "big") + bytes(7)
        peer.send(echo)
        peer.send(echo)
        return "sent"


def other(kind, protocol, host, port):
    """Sends a datagram of a protocol that has no name of its own here, or whatever its first packet is."""
    with socket.socket(family(host), getattr(socket, kind), protocol) as peer:
        peer.settimeout(WAIT)
        peer.connect((host, port))
        text = bytes((8 if family(host) == socket.AF_INET else 128, 0, 0, 0)) + bytes(4) + b"hello"
        peer.send(text)
        select.select([peer], [], [], 0.2)
        peer.send(text)
        return peer.recv(100).decode(errors="replace")


def others(*tries):
    return [outcome(lambda: other(*one)) for one in tries]


def reach(*tries):
    """Outcomes of some tries at once, as those that nobody answers take their time."""
    kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
    with concurrent.futures.ThreadPoolExecutor(len(tries)) as pool:
        return list(pool.map(lambda one: outcome(lambda: dial(kinds[one[0]], one[1], one[2])), tries))


def serve(name, hosts, ports):
    """Answers each text with the own name and who asks; counts what came."""
    def stream(listener):
        while True:
            peer, who = listener.accept()
            say(event="connection", port=listener.getsockname()[1], source=who[0])
            threading.Thread(target=answer, args=(peer,), daemon=True).start()

    def answer(peer):
        with peer:
            try:
                while text := peer.recv(100):
                    peer.sendall(name.encode() + b" " + text)
            except OSError:
                pass

    def datagrams(listener):
        while True:
            text, who = listener.recvfrom(100)
            say(event="datagram", port=listener.getsockname()[1], source=who[0])
            listener.sendto(name.encode() + b" " + text, who)

    for host in hosts:
        for port in ports:
            for kind, loop in ((socket.SOCK_STREAM, stream), (socket.SOCK_DGRAM, datagrams)):
                listener = socket.socket(family(host), kind)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if ":" in host:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind((host, port))
                if kind == socket.SOCK_STREAM:
                    listener.listen(4096)
                threading.Thread(target=loop, args=(listener,), daemon=True).start()
    say(event="listening")
    sys.stdin.read()


def push(host, port):
    """Takes one connection, and sends a text over it once told to."""
    with socket.create_server((host, port), family=family(host)) as listener:
        say(event="listening")
        peer, _ = listener.accept()
        with peer:
            say(event="connected")
            sys.stdin.readline()
            peer.sendall(b"news")
            sys.stdin.read()


def follow(host, port):
    """Says nothing over a connection but what TCP says by itself once it is idle, and waits for a text."""
    with socket.socket(family(host), socket.SOCK_STREAM) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        peer.settimeout(4 * WAIT)
        peer.connect((host, port))
        say(event="listening")
        say(outcome=outcome(lambda: peer.recv(100).decode()))


def closing(host, port, count, first):
    """`count` connections, each closed first by that side: `text` tells the server to close."""
    closed = 0
    for _ in range(count):
        with socket.socket(family(host), socket.SOCK_STREAM) as peer:
            peer.settimeout(WAIT)
            peer.connect((host, port))
            peer.sendall(b"close" if first == "server" else b"hello")
            if first == "server":
                while peer.recv(100):
                    pass
            else:
                peer.recv(100)
            closed += 1
    return closed


def closer(host, port):
    """A server that closes at once what says so, and else when the other side has."""
    def one(peer):
        with peer:
            text = peer.recv(100)
            peer.sendall(text)
            if text != b"close":
                while peer.recv(100):
                    pass

    listener = socket.socket(family(host), socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(4096)
    serve_each(listener, one)


def http(hosts, port):
    """A web server that says which host it was asked for."""
    class Handler(http_server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello from " + self.headers["host"].encode())

        def log_message(self, *_):
            pass

    for host in hosts:
        listener = type("Server", (http_server.ThreadingHTTPServer,), {"address_family": family(host)})((host, port), Handler)
        threading.Thread(target=listener.serve_forever, daemon=True).start()
    say(event="listening")
    sys.stdin.read()


def forward(host, port, path):
    """Leads a port to a Unix socket, which is the same in every network namespace."""
    def copy(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            for each in (source, target):
                each.close()

    listener = socket.create_server((host, port), family=family(host))
    say(event="listening")

    def accept():
        while True:
            peer, _ = listener.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(path)
            for pair in ((peer, server), (server, peer)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


def halves(host, port):
    """A server that reads to the end before it answers how much there was; what begins with `first` it answers at once, and ends its half."""
    def one(peer):
        with peer:
            total = len(begun := peer.recv(5))
            if begun == b"first":
                peer.sendall(b"answer")
                peer.shutdown(socket.SHUT_WR)
            while data := peer.recv(65536):
                total += len(data)
            if begun != b"first":
                peer.sendall(b"%d " % total + bytes(total))
            say(event="read", total=total)

    listener = socket.create_server((host, port), family=family(host))
    serve_each(listener, one)


def half(host, port, begin, size):
    """Sends `size` bytes and ends its half, before or after the other side has ended its own; returns how much came back."""
    with socket.socket(family(host), socket.SOCK_STREAM) as peer:
        peer.settimeout(30)
        peer.connect((host, port))
        received = b""
        if begin == "first":
            peer.sendall(b"first")
            while data := peer.recv(65536):
                received += data
        peer.sendall(bytes(size))
        peer.shutdown(socket.SHUT_WR)
        while data := peer.recv(65536):
            received += data
        return len(received)


def hold(host, port):
    """Opens a connection, and says when it has ended and how."""
    with socket.socket(family(host), socket.SOCK_STREAM) as peer:
        peer.settimeout(WAIT)
        peer.connect((host, port))
        peer.sendall(b"hello")
        peer.recv(100)
        say(event="listening")
        peer.settimeout(60)
        return outcome(lambda: peer.recv(100).decode())


def steady(tcp, udp):
    """Dials again and again until there is something on standard input; then says how often, and what went wrong."""
    say(event="listening")
    count, wrong = 0, []
    lasting = socket.create_connection((tcp, 8000), WAIT)
    while not select.select([sys.stdin], [], [], 0)[0]:
        for answer in (
            outcome(lambda: dial(socket.SOCK_STREAM, tcp, 8000)),
            outcome(lambda: (lasting.sendall(b"hello"), lasting.recv(100).decode())[1]),
            outcome(lambda: dial(socket.SOCK_DGRAM, udp, 53)),
        ):
            count += 1
            if answer != "sidecar hello":
                wrong.append(answer)
    return {"count": count, "wrong": wrong}


def addresses_of(name, times):
    """What glibc finds; `again` where it has no answer at any time."""
    found = []
    for _ in range(times):
        try:
            found = sorted({one[4][0] for one in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)})
        except socket.gaierror as error:
            if error.errno not in (socket.EAI_NONAME, socket.EAI_NODATA):
                return "again"
            found = []
    return found


def steadily(end, hosts, name):
    """Dials, talks and asks until there is a file; then says how often, and what went wrong."""
    count, wrong = 0, []
    known = addresses_of(name, 1)
    lasting = [socket.create_connection((host, 8000), WAIT) for host in hosts]
    while not os.path.exists(end):
        said = [outcome(lambda: (one.sendall(b"hello"), one.recv(100).decode())[1]) for one in lasting]
        said += [outcome(lambda: dial(socket.SOCK_STREAM, host, 8000)) for host in hosts]
        if addresses_of(name, 1) != known:
            said.append("another answer")
        count += len(said)
        wrong += [one for one in said if one != "outside hello"]
    return {"count": count, "wrong": wrong}


def main():
    command, args = sys.argv[1], json.loads(sys.argv[2])
    if command == "serve":
        serve(*args)
    elif command in ("closer", "http", "forward", "halves", "push", "follow"):
        globals()[command](*args)
    else:
        do = {
            "tcp": lambda *rest: dial(socket.SOCK_STREAM, *rest),
            "udp": lambda *rest: dial(socket.SOCK_DGRAM, *rest),
            "raw": raw,
            "reach": reach,
            "others": others,
            "names": lambda times, *names: {name: addresses_of(name, times) for name in names},
            "steadily": steadily,
            "closing": closing,
            "steady": steady,
            "half": half,
            "hold": hold,
        }[command]
        say(outcome=outcome(lambda: do(*args)))


main()
