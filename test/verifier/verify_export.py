"""A second verifier of exports and ledgers, written from docs/audit-format.md. Prints a verdict a line.

verify_export.py [--trust KEY.pem]... [--ledger FILE] EXPORT...
verify_export.py [--trust KEY.pem]... --check-ledger [--ledger COPY] LEDGER..."""
import contextlib, getopt, itertools, json, re, struct, sys, zlib
from hashlib import sha256
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

ABSENT, UNLINKED, UNSIGNED, SEQ, PLACE = object(), "0" * 64, "0" * 128, range(1, 2**53), range(2**53)
HASH, SIGNATURE, UUID = map(re.compile, ("[0-9a-f]{64}", "[0-9a-f]{128}", "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"))
CLAIM = ({"kind": "head", "seq": PLACE, "link": (HASH, ABSENT), "publicKey": (HASH, ABSENT)},
         {"kind": "cut", "seq": PLACE, "link": HASH, "publicKey": (HASH, ABSENT)},
         {"kind": "erasure", "ranges": [[PLACE, PLACE]]}, {"kind": "quarantine", "after": PLACE, "sha256": HASH})
START = {"v": 1, "stream": UUID, "cut": ({"seq": SEQ, "link": HASH}, ABSENT)}
FIELDS = {b"M": ({"of": "stream", **START}, {"of": "session", "session": UUID, **START}), b"J": {"to": SEQ},
          b"F": {"v": 1, "kind": str, "stream": str, "seq": SEQ, "time": str}, b"S": {"stream": UUID}}
LIMITS = {b"M": 65536, b"L": 1048576, b"F": 4194312, b"H": 1048576, b"J": 1024, b"S": 1024, b"E": 32}
NEXT = {b"M": b"LFHJSE", b"L": b"LFHJSE", b"F": b"FHJSE", b"H": b"FHJSE", b"J": b"F", b"S": b"F", b"E": b""}
JSON = json.JSONDecoder(parse_constant=int)  # int refuses NaN, which is not JSON

class Broken(ValueError):
    """At which record, None for the one due; of which chain, None for the one that is read."""

def need(condition, at=None, chain=None):
    if not condition: raise Broken(at, chain)

def fits(got, want):
    """Whether a value is as wanted: fields by name, one of several, a list of one kind or a pair, a kind, a value."""
    match want:
        case dict(): return type(got) is dict and all(fits(got.get(name, ABSENT), want[name]) for name in want)
        case tuple(): return any(fits(got, each) for each in want)
        case list(): return type(got) is list and len(want) in (1, len(got)) and all(map(fits, got, want * len(got)))
        case type(): return type(got) is want
        case range(): return type(got) is int and got in want
        case re.Pattern(): return type(got) is str and want.fullmatch(got) is not None
    return type(got) is type(want) and got == want

def read_line(line, keys=()):
    """The entry in a line of the ledger, None where it cannot be read, and whether one of the keys signed the line."""
    entry, signed, rule = None, False, {"v": 1, "n": SEQ, "previous": HASH, "kind": str, "stream": str}
    if re.match(b"[0-9a-f]{128} ", line):
        with contextlib.suppress(ValueError, RecursionError): entry = JSON.decode(line[129:].decode("utf-8", "replace"))
        for key in keys:
            with contextlib.suppress(InvalidSignature):
                signed = key.verify(bytes.fromhex(line[:128].decode()), b"chaperone/ledger/v1\n" + line[129:]) is None
    return entry if fits(entry, rule) else None, signed

def check_ledger(lines, keys, at, previous, copy=(), begin=1):
    """Checks the lines behind line `at`, and that those of a copy, which begins at line `begin`, are among them."""
    for line, same in itertools.zip_longest(lines, itertools.chain(itertools.repeat(None, begin - 1), copy)):
        at, (entry, signed) = at + 1, read_line(line or b"", keys)
        follows = entry and entry["n"] == at and previous in (None, entry["previous"])
        if not follows or same not in (None, line) or (keys and not signed): return f"broken {at}"
        previous = sha256(line[129:]).hexdigest()
    return f"whole {at}"

def items(data):
    """Splits an export: type, fields, body, content of a record. Raises what is wrong with the form where it is met."""
    need(data[:20] == b"chaperone/export/v1\n")
    at, allowed = 20, b"M"
    while allowed:
        kind, length = struct.unpack(">cI", data[at : at + 5])
        body, content = data[at + 5 : at + 5 + length], b""
        need(kind in allowed and len(body) == length <= LIMITS[kind])
        need(kind != b"H" or (body and length % 32 == 0))
        need(kind != b"E" or body == sha256(memoryview(data)[:at]).digest())
        if kind == b"F":
            size, crc, header = struct.unpack(">III", body[:12])
            need(size == length - 8 and crc == zlib.crc32(body[8:]) and header <= 65536 and header + 12 <= length)
            body, content = body[12 : 12 + header], body[12 + header :]
            need(len(content) not in range(1, 17))  # a salt alone
        elif kind in b"MLJS": body.decode()  # raises what is not UTF-8
        fields = JSON.decode(body.decode("utf-8", "replace")) if kind in FIELDS else None
        need(fits(fields, FIELDS.get(kind)))
        yield kind, fields, body, content
        at, allowed = at + 5 + length, NEXT[kind]
    need(at == len(data))  # nothing is behind the end

class Chain:
    """A stream of an export as far as it was read. `about`: the manifest, or what names the successor of `before`."""
    def __init__(self, about, lines, trusted, before=None):
        self.about, self.before, self.stream, self.whole = about, before, about["stream"], about.get("of") == "stream"
        lines = [line for line in lines if line["stream"] == self.stream]
        places = [line for line in lines if line["kind"] in ("head", "cut")]
        self.keys = [line["publicKey"] for line in places if "publicKey" in line]
        self.ranges = [pair for line in lines if line["kind"] == "erasure" for pair in line["ranges"]]
        self.head = max((line["seq"] for line in places if line["kind"] == "head"), default=0)
        self.strict, self.signed, self.open, self.links = trusted and lines, None, {}, {}
        for line in places: self.links.setdefault(line["seq"], set()).add(line.get("link", UNLINKED))
        self.jumped = self.proves = self.ended = self.proven = self.end = self.first = self.last = self.erased = 0
        cut = about.get("cut", {"seq": 0, "link": sha256(b"chaperone/v1\n" + self.stream.encode()).hexdigest()})
        self.key = self.keys[0] if self.keys and "cut" in about else None
        if "cut" in about:
            known = [line["link"] for line in places if fits(line, {"kind": "cut", "seq": cut["seq"]})]
            need(not self.strict or known[-1:] == [cut["link"]], at=1)
            need(len(set(self.keys)) < 2)
        self.move(bytes.fromhex(cut["link"]), cut["seq"])
    def move(self, link, place):  # to a record; its link is that of the ledger, if it names one
        self.link, self.place, named = link, place, self.links.get(place, set()) - {UNLINKED}
        need(named <= {link.hex()}, at=place)
        if named: self.proven = place
    def take(self, kind, fields, body, content):  # an item; of the export of a stream nothing is left out
        if kind == b"F": self.take_record(fields, body, content)
        elif kind == b"H":
            need(not self.end and not self.whole)
            for [part] in struct.iter_unpack("32s", body): self.move(sha256(self.link + part).digest(), self.place + 1)
        elif kind == b"J":
            need(self.signed == self.place and fields["to"] >= self.place + 2 and not self.whole)
            self.place, self.jumped = fields["to"] - 1, True
        else: need(self.before or (self.head <= self.place if self.whole else self.last))
    def take_record(self, fields, header, content):
        kind, seq, named = fields["kind"], fields["seq"], fields.get("payload")
        need(fields["stream"] == self.stream and seq == self.place + 1 and (kind == "stream.start") == (seq == 1))
        need(not self.end or (kind == "checkpoint" and seq == self.end + 1))  # nothing else is behind the end
        need(not content or fits(named, {"length": len(content) - 16, "hash": sha256(content).hexdigest()}))
        erased = not content and named not in (None, False, "")
        need(not (erased and self.strict) or any(first <= seq <= last for first, last in self.ranges))
        if kind == "gap": need(not self.whole, fields["from"] if fits(fields.get("from"), range(1, seq)) else seq)
        signs = kind == "checkpoint" and fields.get("signature") != UNSIGNED
        need(signs or not self.jumped)  # a jump leads to a signed checkpoint
        if kind == "checkpoint": self.take_checkpoint(fields.get("link"), fields.get("signature"))
        if kind == "stream.start": self.take_start(self.before, fields.get("previous"), fields.get("publicKey"))
        if kind == "stream.end": self.end = seq
        self.take_number(fields)
        self.move(sha256(self.link + sha256(header).digest()).digest(), seq)
        self.jumped, self.signed, self.erased = False, signs and seq, self.erased + erased
    def take_checkpoint(self, link, signature):  # behind a jump its link is taken for that of the chain
        if self.jumped and fits(link, HASH): self.link = bytes.fromhex(link)
        need(link == self.link.hex() or (signature == UNSIGNED and link == UNLINKED))
        if signature == UNSIGNED: return
        need(fits(self.key, HASH) and fits(signature, SIGNATURE))
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.key))
        key.verify(bytes.fromhex(signature), f"chaperone/v1\n{self.stream}\n{self.place}\n{link}".encode())
        self.proven = self.place
    def take_start(self, before, named, key):  # `named`: how the stream before it ended
        if before:
            need(not fits(named, {"stream": before.stream, "seq": range(before.place + 1, 2**53)}), chain=before)
            need(fits(named, {"stream": before.stream, "seq": before.place, "link": (before.link.hex(), UNLINKED)}))
            self.proves = named["link"] != UNLINKED
        self.key = key
        need(self.keys.count(key) == len(self.keys))
    def take_number(self, fields):  # of a record in its session: in that of the export, or in all
        session, n, ends = fields.get("session", ABSENT), fields.get("n"), fields["kind"] == "session.end"
        if session is ABSENT or not (self.whole or session == self.about.get("session")): return
        need(type(session) is str and fits(n, SEQ) and (self.whole or not self.ended))
        last = self.open.pop(session, 0)
        need((n == last + 1 or (not last and "cut" in self.about)) and (last or len(self.open) < 10**6))
        need(not ends or fits(fields.get("count"), n))
        if not ends: self.open[session] = n
        self.first, self.last, self.ended = self.first or n, fields["seq"], ends

def verify(data, keys, claims, trusted):
    """The verdict on an export, and how many payloads were erased. `claims`: what a copy of the ledger says."""
    lines, chains, signed, start = list(claims), [], set(), -1
    try:
        for kind, fields, body, content in items(data):
            if kind == b"M": about, start = fields, fields["cut"]["seq"] if "cut" in fields else 0
            elif kind == b"L":
                entry, by_key = read_line(body, keys)
                need((signed := signed | {by_key}) != {True, False})
                if (by_key or not trusted) and fits(entry, CLAIM): lines.append(entry)
            else:
                chains = chains or [Chain(about, lines, trusted)]
                chains[-1].take(kind, fields, body, content)
            if kind == b"S": chains.append(Chain({"stream": fields["stream"]}, lines, trusted, chains[-1]))
    except (ValueError, RecursionError, struct.error, InvalidSignature) as error:
        at, chain = error.args if isinstance(error, Broken) else (None, None)
        if not chains: return f"broken {start + 1 if at is None else at}", 0
        chain = chain or chains[-1]
        name = f" {chain.stream}" if chain.stream != chains[0].stream else ""
        return f"broken {chain.place + 1 if at is None else at}{name}", chains[0].erased
    return judge(chains, trusted), chains[0].erased

def judge(chains, trusted):  # the verdict where nothing is broken
    first, followers = chains[0], itertools.takewhile(lambda chain: chain.proves, chains[1:])
    proof = next((index for index, chain in enumerate(followers, 1) if chain.proven), 0)
    last, ended = (first.place, first.end or proof) if first.whole else (first.last, first.ended)
    reach = first.place if proof else first.proven
    if not ended or reach < last: return f"unbroken {min(last, reach)}"
    needed = chains[: proof + 1] if first.proven < last or (first.whole and not first.end) else chains[:1]
    named = trusted and all(chain.key in chain.keys for chain in needed)
    return "complete" if named and (first.whole or first.first == 1) else "consistent"

def main():
    options, paths = getopt.gnu_getopt(sys.argv[1:], "", ["trust=", "ledger=", "check-ledger"])
    keys = [load_pem_public_key(open(path, "rb").read()) for name, path in options if name == "--trust"]
    copies = [open(path, "rb").read().split(b"\n")[:-1] for name, path in options if name == "--ledger"]
    copy, files = copies[0] if copies else [], (open(path, "rb").read() for path in paths)
    begin = next((entry["n"] for entry, _ in map(read_line, copy[:1]) if entry), 1)
    if ("--check-ledger", "") in options:
        return [print(check_ledger(data.split(b"\n")[:-1], keys, 0, UNLINKED, copy, begin)) for data in files]
    checked = check_ledger(copy, keys, begin - 1, None)
    claims = [entry for entry, _ in map(read_line, copy) if fits(entry, CLAIM)]
    if checked.startswith("broken"): return print("ledger", checked)
    for data in files: print(*verify(data, keys, claims, bool(keys or copies)))

main()
