"""A plugin by hand that keeps to the protocol, but for the faults that its arguments name."""

import json
import os
import sys
import time

FAULTS = set(sys.argv[1:])
TYPES = {int, str}
out = 1


def frame(message, header=b"Content-Length: %d\r\n\r\n"):
    body = json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii="ascii" in FAULTS).encode()
    return header % len(body) + body


def send(**message):
    os.write(
        out,
        frame(
            message, b"content-length: %d\r\n\r\n" if "header" in FAULTS else b"Content-Length: %d\r\n\r\n"
        ),
    )


def fail(id, code, message="no", **more):
    send(id=id, error={"code": code, "message": message, **more})


def read():
    length = None
    while (line := sys.stdin.buffer.readline()) != b"\r\n":
        if not line:
            return None
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" or "only-one-header" in FAULTS:
            length = int(value)
    if length > 1_000_000 and "small" in FAULTS:
        sys.exit(3)
    return sys.stdin.buffer.read(length)


phase = "new"


def answer(id, method, params):
    global phase
    if not isinstance(params, dict) and "params" not in FAULTS:
        fail(id, -32602)
        return
    if method == "initialize" and (phase == "new" or "again" in FAULTS):
        if 1 not in params["protocol"] and "version" not in FAULTS:
            data = {} if "supported" in FAULTS else {"data": {"supported": [1]}}
            fail(id, -32008, **data)
            return
        phase = "ready"
        if "speaks" in FAULTS:
            send(id=77, method="config/get", params={})
        protocol = 2 if "protocol" in FAULTS else 1
        name = "Bad Name" if "name" in FAULTS else "work"
        features = ["stream", "progress"] + ["telepathy"] * ("feature" in FAULTS)
        methods = [{"name": name}, {"name": "items", "stream": True}]
        provides = {"methods": methods}
        send(id=id, result={"protocol": protocol, "features": features, "provides": provides})
        return
    if method == "initialize":
        fail(id, -32003)
        return
    if phase == "new" and "early" not in FAULTS:
        fail(id, -32002)
        return
    if method == "lifecycle/ping":
        send(id=id, result=[] if "ping" in FAULTS else {"in_flight": 0})
        return
    if phase == "stopping" and "serves-on" not in FAULTS:
        fail(id, -32004)
        return
    if method == "lifecycle/start":
        fail(id, -32000) if "start" in FAULTS else send(id=id, result={})
        return
    if method == "shutdown":
        phase = "stopping"
        send(id=id, result=None)
        return
    if method == "work":
        time.sleep(params.get("seconds", 0))
        if progress_wanted or "progress" in FAULTS:
            send(method="$/progress", params={"token": id, "value": {"done": 1}})
        send(id=id, result="done")
        return
    if method == "items":
        items(id)
        return
    fail(id, -32000 if "unknown" in FAULTS else -32601)
    return


def items(id):
    if credit is None and "no-credit" not in FAULTS:
        fail(id, -32602)
        return
    for seq in range(3):
        if seq == (credit or 0) and "greedy" not in FAULTS:
            while b"$/credit" not in read():
                pass
        send(method="$/stream", params={"id": id, "seq": seq + (seq > 1 and "seq" in FAULTS), "items": [seq]})
    send(id=id, result=None)


credit = progress_wanted = None
if "mute" in FAULTS:
    time.sleep(60)
if "hello" in FAULTS:
    print("Loading the model", flush=True)
while True:
    body = read()
    if body is None:
        if ("eof" in FAULTS and phase == "ready") or ("eof-early" in FAULTS and phase == "new"):
            time.sleep(60)
        sys.exit(0)
    try:
        if "utf-8" not in FAULTS:
            body.decode()
        message = json.loads(body if "utf-8" not in FAULTS else body.decode(errors="ignore"))
    except (ValueError, RecursionError):
        if "json" in FAULTS and len(body) < 30:
            continue
        fail(None, -32700)
        continue
    if isinstance(message, list) and "batch" in FAULTS:
        for each in message:
            answer(each["id"], each["method"], each["params"])
        continue
    if isinstance(message, dict) and ("result" in message or "error" in message):
        if "replies" in FAULTS:
            fail(None, -32600)
        continue
    method = message.get("method") if isinstance(message, dict) else None
    id = message.get("id", ...) if isinstance(message, dict) else ...
    if type(method) is not str or (id is not ... and type(id) not in TYPES and "ids" not in FAULTS):
        if "no-message" not in FAULTS or message != 7:
            fail(None, -32600)
        continue
    if id is ...:
        if method == "exit":
            sys.exit(5 if "exit" in FAULTS else 0)
        if "notifications" in FAULTS and method.startswith("no"):
            fail(None, -32601)
        continue
    if "numbers" in FAULTS and type(id) is str and id.isdigit():
        id = int(id)
    credit = message.get("meta", {}).get("credit")
    progress_wanted = message.get("meta", {}).get("progress")
    answer(id, method, message.get("params", {}))
    if "twice" in FAULTS and method == "lifecycle/start":
        send(id=id, result=None)
