"""A second verifier of exports and ledgers, written from docs/audit-format.md. Prints a verdict a line.

verify_export.py [--trust KEY.pem]... [--ledger FILE] EXPORT...
verify_export.py [--trust KEY.pem]... --check-ledger [--ledger COPY] LEDGER...
"""
import argparse, struct, zlib
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from audit_format import (Broken, UNLINKED, check_ledger, claims, is_hex, is_int, is_signed, items, need, parse,
                          parse_manifest, read_line, sha)

UNSIGNED = "0" * 128
class Chain:
    """One stream of an export. `lines`: what is trusted, or taken at its word."""
    def __init__(self, stream, lines, trusted, cut=None, whole=False, before=None):
        self.stream, self.whole, self.before, self.key = stream, whole, before, None
        self.p = cut["seq"] if cut else 0
        self.link = bytes.fromhex(cut["link"]) if cut else sha(b"chaperone/v1\n", stream.encode())
        self.lines = [line for line in lines if line["stream"] == stream]
        self.strict = trusted and bool(self.lines)
        self.places = [line for line in self.lines if line["kind"] in ("head", "cut")]
        self.keys = [line["publicKey"] for line in self.places if "publicKey" in line]
        self.links = {}
        for line in self.places:
            if line.get("link", UNLINKED) != UNLINKED: self.links.setdefault(line["seq"], set()).add(line["link"])
        self.proven, self.may_jump, self.jumped, self.end, self.proves = 0, False, False, "open", False

    def begin(self, cut=None):
        if cut:
            known = [(line["seq"], line["link"]) for line in self.places if line["kind"] == "cut"]
            need(not self.strict or (cut["seq"], cut["link"]) in known, "a cut that the ledger does not know", 1)
            self.use_key(self.keys[0] if self.keys else None)
        self.at_ledger()

    def use_key(self, key):
        self.key = key if is_hex(key, 32) else None
        need(all(other == self.key for other in self.keys), "the ledger names another key")

    def at_ledger(self):
        if self.p not in self.links: return
        need(self.links[self.p] == {self.link.hex()}, "the ledger has another link", self.p)
        self.proven = self.p

    def step(self, header_hash):
        self.link, self.p = sha(self.link, header_hash), self.p + 1
        self.at_ledger()

    def frame(self, body):
        """Takes a record. Returns its header, and whether its payload was erased."""
        need(len(body) >= 12, "too short for a frame")
        n, crc, h = struct.unpack(">III", body[:12])
        need(n == len(body) - 8 and n <= 4194304 and h <= 65536 and 12 + h <= len(body), "lengths of the frame")
        need(zlib.crc32(body[8:]) == crc, "CRC")
        header, salt, payload = body[12 : 12 + h], body[12 + h : 28 + h], body[28 + h :]
        fields = parse(header.decode("utf-8", "replace"))
        kind, seq, named = fields.get("kind"), fields.get("seq"), fields.get("payload")
        need(fields.get("v") == 1 and isinstance(kind, str) and isinstance(fields.get("time"), str), "header")
        need(fields.get("stream") == self.stream and is_int(seq) and seq == self.p + 1, "another record is due")
        need(not salt or payload, "a salt alone")
        need((kind == "stream.start") == (seq == 1), "the start of the stream")
        need(self.end == "open" or (self.end == "ended" and kind == "checkpoint"), "behind the end of the stream")
        erased = isinstance(named, dict) and not payload
        if payload: need(isinstance(named, dict) and named.get("length") == len(payload)
                         and named.get("hash") == sha(salt, payload).hex(), "payload")
        elif erased and self.strict: need(any(first <= seq <= last for line in self.lines if line["kind"] == "erasure"
                                              for first, last in line["ranges"]), "a payload is missing")
        if kind == "gap" and self.whole:
            since = fields.get("from")
            raise Broken("a gap", since if is_int(since) and since < seq else seq)
        signs = kind == "checkpoint" and fields.get("signature") != UNSIGNED
        need(signs or not self.jumped, "a jump leads to no signed checkpoint")
        if kind == "checkpoint": self.checkpoint(fields.get("link"), signs, fields.get("signature"))
        if kind == "stream.start":
            if self.before: self.follows(fields.get("previous"))
            self.use_key(fields.get("publicKey"))
        self.jumped, self.may_jump = False, signs
        self.end = "sealed" if self.end == "ended" else "ended" if kind == "stream.end" else "open"
        self.step(sha(header))
        return fields, erased

    def checkpoint(self, link, signs, signature):
        if self.jumped and is_hex(link, 32): self.link = bytes.fromhex(link)
        need(link == self.link.hex() or (not signs and link == UNLINKED), "a checkpoint of another link")
        if not signs: return
        need(self.key and is_hex(signature, 64), "no key, or no signature")
        text = f"chaperone/v1\n{self.stream}\n{self.p}\n{link}".encode()
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.key))
        need(is_signed(key, signature, text), "a signature that does not verify")
        self.proven = self.p

    def follows(self, named):
        named, before = named if isinstance(named, dict) else {}, self.before
        if named.get("stream") == before.stream and is_int(named.get("seq")):
            need(named["seq"] <= before.p, "the successor names a later end", before.p + 1, before.stream)
        found = (named.get("stream"), named.get("seq"), named.get("link"))
        self.proves = named.get("link") != UNLINKED
        need(found[:2] == (before.stream, before.p) and found[2] in (before.link.hex(), UNLINKED), "the successor names another end")

    def other(self, kind, body):
        """Takes any other item: no record may be due that only a frame can be."""
        begun = not (self.before and self.p == 0) and not self.jumped
        if kind == b"H":
            need(begun and not self.whole and self.end == "open", "records are left out")
            self.may_jump = False
            for at in range(0, len(body), 32): self.step(body[at : at + 32])
        elif kind == b"J":
            need(self.may_jump and not self.whole, "no jump from here")
            need(parse(body)["to"] >= self.p + 2, "a jump that leads back")
            self.may_jump, self.jumped, self.p = False, True, parse(body)["to"] - 1
        else: need(begun, "a record is due")

class Sessions:
    """Numbers of records within their sessions: of `only` one, or of all."""
    def __init__(self, only, after_cut):
        self.only, self.after_cut, self.open, self.first, self.last, self.ended = only, after_cut, {}, None, 0, False

    def take(self, header):
        session, n = header.get("session"), header.get("n")
        if session is None or self.only not in (None, session): return
        need(not self.ended, "behind the end of its session", header["seq"])
        begins = session not in self.open and self.after_cut
        need(is_int(n) and (begins or n == self.open.get(session, 0) + 1), "its number in the session", header["seq"])
        self.open[session], self.first, self.last = n, self.first or n, header["seq"]
        if header["kind"] == "session.end":
            need(header.get("count") == n, "the count of the session", header["seq"])
            self.ended = self.only is not None
            del self.open[session]

def verify(data, keys, copy):
    trusted, lines, chains, due, erased, signers = bool(keys) or copy is not None, list(copy or []), [], 0, 0, set()
    try:
        for kind, body in items(data):
            if kind == b"M":
                stream, whole, only, cut = parse_manifest(body)
                sessions, due = Sessions(only, cut is not None), cut["seq"] + 1 if cut else 1
                continue
            if kind == b"L":
                line = read_line(body.decode(), keys)
                signers.add(bool(line))
                if line and claims(line) and (keys or copy is None): lines.append(line)
                continue
            if not chains:
                need(not keys or len(signers) < 2, "lines of the ledger that no trusted key has signed")
                chains.append(Chain(stream, lines, trusted, cut, whole))
                chains[0].begin(cut)
            chain = chains[-1]
            if kind == b"F":
                header, missing = chain.frame(body)
                if len(chains) == 1: sessions.take(header)
                erased += missing and len(chains) == 1
            else: chain.other(kind, body)
            if kind in b"SE" and len(chains) == 1:
                beyond = [line for line in chain.places if line["kind"] == "head" and line["seq"] > chain.p]
                need(not (whole and beyond), "the ledger has more records")
                need(whole or sessions.first, "no record of the session")
            if kind == b"S":
                chains.append(Chain(parse(body)["stream"], lines, trusted, before=chain))
                chains[-1].begin()
    except (Broken, UnicodeDecodeError) as error:
        chain = chains[-1] if chains else None
        at, found = getattr(error, "at", None), getattr(error, "stream", None) or (chain and chain.stream)
        at = at if at is not None else chain.p + 1 if chain else due
        return f"broken {at}" + (f" {found}" if chain and found != stream else ""), erased
    return judge(chains, sessions, whole, trusted), erased

def judge(chains, sessions, whole, trusted):
    reach = follows = 0
    for chain in reversed(chains):
        successor, reach = follows, chain.p if follows > 0 else chain.proven
        follows = reach if chain.proves else 0
    first, more = chains[0], True
    last, ended = (first.p, first.end != "open") if whole else (sessions.last, sessions.ended)
    if not (ended or (whole and successor > 0)) or reach < last: return f"unbroken {min(last, reach)}"
    needed = last
    for chain in chains:
        if more and not (trusted and chain.key in chain.keys): return "consistent"
        more = more and (chain.proven < needed or (chain is first and whole and not ended))
        needed = 1
    return "complete" if whole or sessions.first == 1 else "consistent"

def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--trust", action="append", default=[])
    arguments.add_argument("--ledger")
    arguments.add_argument("--check-ledger", action="store_true")
    arguments.add_argument("files", nargs="+")
    given = arguments.parse_args()
    keys = [load_pem_public_key(open(path, "rb").read()) for path in given.trust]
    copy = None if given.ledger is None else lines_of(given.ledger)
    if given.check_ledger: return [print(check_ledger(lines_of(path), keys, copy or [])) for path in given.files]
    if copy is not None and not check_ledger(copy, keys, None).startswith("whole"):
        return print("ledger", check_ledger(copy, keys, None))
    known = None if copy is None else [line for line in (read_line(text, keys) for text in copy) if line and claims(line)]
    for path in given.files: print(*verify(open(path, "rb").read(), keys, known))

def lines_of(path): return open(path, encoding="utf-8", newline="\n").read().split("\n")[:-1]

main()
