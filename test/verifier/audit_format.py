"""Items of an export and lines of the ledger as docs/audit-format.md describes them, taken out of their bytes."""
import hashlib, json, re
from cryptography.exceptions import InvalidSignature

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
UNLINKED = "0" * 64
LIMITS = {b"M": 65536, b"L": 1048576, b"F": 4194312, b"H": 1048576, b"J": 1024, b"S": 1024, b"E": 32}

class Broken(Exception):
    """`at` is None where it is the record due."""
    def __init__(self, why, at=None, stream=None):
        self.why, self.at, self.stream = why, at, stream

def need(condition, why, at=None, stream=None):
    if not condition: raise Broken(why, at, stream)

def sha(*parts): return hashlib.sha256(b"".join(parts)).digest()
def is_hex(value, size): return isinstance(value, str) and re.fullmatch("[0-9a-f]{%d}" % (2 * size), value) is not None
def is_int(value, least=1): return type(value) is int and least <= value < 2**53
def is_uuid(value): return isinstance(value, str) and UUID.fullmatch(value) is not None

def parse(data):
    """A JSON object of bytes or text."""
    def refuse(_): raise ValueError("no number of JSON")
    try: value = json.loads(data if isinstance(data, str) else data.decode(), parse_constant=refuse)
    except (ValueError, RecursionError): value = None
    need(isinstance(value, dict), "not a JSON object")
    return value

def is_signed(key, signature, text):
    try: return key.verify(bytes.fromhex(signature), text) is None
    except InvalidSignature: return False

def read_line(line, keys):
    """A ledger line's fields, with its hash; None where it cannot be read or no key signed it."""
    try: entry = parse(line[129:])
    except Broken: return None
    fits = re.match("[0-9a-f]{128} ", line) and entry.get("v") == 1 and is_int(entry.get("n"))
    fits = fits and is_hex(entry.get("previous"), 32) and all(isinstance(entry.get(k), str) for k in ("kind", "stream"))
    text = b"chaperone/ledger/v1\n" + line[129:].encode()
    if not fits or (keys and not any(is_signed(key, line[:128], text) for key in keys)): return None
    return {**entry, "hash": sha(line[129:].encode()).hex()}

def claims(entry):
    """Whether a line has the fields of its kind."""
    kind, get = entry["kind"], entry.get
    if kind == "quarantine": return is_int(get("after"), 0) and is_hex(get("sha256"), 32)
    if kind == "erasure":
        pairs = get("ranges")
        return isinstance(pairs, list) and all(
            isinstance(pair, list) and len(pair) == 2 and all(is_int(seq, 0) for seq in pair) for pair in pairs)
    return (kind in ("head", "cut") and is_int(get("seq"), 0) and is_hex(get("publicKey", UNLINKED), 32)
            and is_hex(get("link", UNLINKED if kind == "head" else None), 32))

def check_ledger(lines, keys, copy):
    """Checks a ledger against a copy, or with copy None a copy by itself."""
    n, previous, copies, compares = (None, None, [], False) if copy is None else (0, UNLINKED, list(copy), False)
    for line in lines:
        entry = read_line(line, [])
        at = (entry["n"] if entry else 1) if n is None else n + 1
        if not read_line(line, keys) or entry["n"] != at or previous not in (None, entry["previous"]):
            return f"broken {at}"
        compares = compares or bool(copies) and (read_line(copies[0], []) or entry)["n"] <= at
        if compares and copies and copies.pop(0) != line:
            return f"broken {at}"
        n, previous = at, entry["hash"]
    return f"broken {(n or 0) + 1}" if copies else f"whole {n or 0}"

def items(data):
    """Splits an export. Whatever is wrong with its form is raised where it is met."""
    need(data[:20] == b"chaperone/export/v1\n", "not an export")
    at, state = 20, 0  # 0: manifest due, 1: ledger lines, 2: records, 3: ended
    while state < 3:
        kind, length = data[at : at + 1], int.from_bytes(data[at + 1 : at + 5], "big")
        need(at + 5 <= len(data) and kind in LIMITS and length <= LIMITS[kind], "an item")
        need(kind != b"H" or (length > 0 and length % 32 == 0), "hashes")
        body, begin, at = data[at + 5 : at + 5 + length], at, at + 5 + length
        need(at <= len(data), "cut short")
        need((kind == b"M") == (state == 0) and (kind != b"L" or state < 2), "an item in the wrong place")
        if kind == b"E": need(body == sha(data[:begin]), "the hash at the end")
        if kind == b"J": need(is_int(parse(body).get("to")), "a jump")
        if kind == b"S": need(is_uuid(parse(body).get("stream")), "a successor")
        state = 3 if kind == b"E" else 1 if kind in b"ML" else 2
        yield kind, body
    need(at == len(data), "something behind the end")

def parse_manifest(body):
    manifest = parse(body)
    of, cut = manifest.get("of"), manifest.get("cut")
    fits = manifest.get("v") == 1 and is_uuid(manifest.get("stream")) and of in ("session", "stream")
    need(fits and (of == "stream" or is_uuid(manifest.get("session"))), "the manifest")
    if "cut" in manifest: need(isinstance(cut, dict) and is_int(cut.get("seq")) and is_hex(cut.get("link"), 32), "the cut")
    return manifest.get("stream"), of == "stream", manifest.get("session") if of == "session" else None, cut
