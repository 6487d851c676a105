#!/usr/bin/env python3
"""Ten minutes (--seconds) of all that clients do at once, good and bad, against a server of ours; then everything is counted.

    bench/soak.py --model models/mla-default.gguf --out bench/results/soak-default.json

Starts `mla serve` with a cache that is too small for all who ask (so that answers are preempted and resumed), with a disk cache, and lets these go on
until the time is over:

  streams   chats that are read as they are written, half of them with a beginning that all share
  wholes    answers in one piece, some with several choices
  leavers   streams whose clients go away in the middle
  slow      clients that read a few bytes, then sleep
  scores    echo with log-probabilities: prompts that are scored
  vectors   embeddings
  wrong     requests that must be refused: bad JSON, bad fields, bad paths, bytes that are no HTTP, half of a request
  probe     /livez every 100 ms, and the metrics every second

Nothing may be lost: every answer has the length that was asked for and ends as the API says, a refusal for want of room (429, 503) says when to come
again, wrong requests get their 4xx, /livez always answers, and at the end nothing runs or waits, the server has counted at least the answers that clients got, file
descriptors are back to what they were, memory has stopped growing, and SIGTERM ends the server with 0. What is not so ends the program with 1.
Tail latencies go into the JSON document. Needs nothing but Python.
"""

import argparse
import collections
import datetime
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

KINDS = {"streams": 12, "wholes": 4, "leavers": 4, "slow": 2, "scores": 2, "vectors": 1, "wrong": 2}
SHARED_TOKENS = 192
PERCENTILES = (50, 90, 99, 99.9, 100)


def percentiles(values):
    ordered = sorted(values)
    return {f"p{p:g}": ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))] for p in PERCENTILES} if ordered else {}


class Refused(Exception):
    """No room: the server said when to come again."""

    def __init__(self, seconds):
        super().__init__(f"come again in {seconds} s")
        self.seconds = seconds


class Soak:
    def __init__(self, options, port, pid):
        self.o, self.port, self.pid = options, port, pid
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.times = collections.defaultdict(list)
        self.problems = []
        self.endings = collections.Counter()  # finish reasons as the server is to count them
        self.memory = []  # (second, resident bytes)
        self.stop = threading.Event()
        shared = random.Random(1)
        self.vocabulary = options.vocabulary
        self.shared = [shared.randrange(3, self.vocabulary) for _ in range(SHARED_TOKENS)]

    # -- clients

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def prompt(self, rng, longest):
        ids = [rng.randrange(3, self.vocabulary) for _ in range(rng.randint(1, longest))]
        return (self.shared + ids)[: SHARED_TOKENS + longest // 2] if rng.random() < 0.5 else ids

    def post(self, connection, path, body):
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status in (429, 503):
            response.read()
            raise Refused(int(response.getheader("Retry-After", "-1")))
        if response.status != 200:
            raise AssertionError(f"{path}: {response.status} {response.read()[:300]!r}")
        return response

    def events(self, response, at_most=None, pause=0.0):
        """The stream's events with the time of each; must end with [DONE] unless it is left before."""
        n = 0
        for line in response:
            if not line.startswith(b"data: "):
                continue
            if line == b"data: [DONE]\n":
                response.read()
                return
            yield json.loads(line[6:]), time.monotonic()
            n += 1
            if at_most is not None and n >= at_most:
                return
            if pause:
                time.sleep(pause)
        raise AssertionError("a stream ended without [DONE]")

    def stream(self, rng, connection, pause=0.0):
        n_new = rng.randint(1, 160)
        body = {"prompt": self.prompt(rng, 256), "max_tokens": n_new, "stream": True, "ignore_eos": True, "seed": rng.randrange(1 << 32),
                "temperature": rng.choice([0, 0.8]), "stream_options": {"include_usage": True}}
        begin = last = time.monotonic()
        reason = usage = None
        first = True
        for event, now in self.events(self.post(connection, "/v1/completions", body), pause=pause):
            if "error" in event:
                raise AssertionError(f"a stream ended with {event['error']}")
            if event.get("usage"):
                usage = event["usage"]
            for choice in event["choices"]:
                reason = choice["finish_reason"] or reason
                if choice["text"] and not pause:
                    self.add_time("first_token" if first else "gap", now - (begin if first else last))
                    first, last = False, now
        if reason != "length" or usage is None or usage["completion_tokens"] != n_new:
            raise AssertionError(f"{n_new} tokens were asked for; finish_reason {reason}, usage {usage}")
        self.ended("length")

    def slow(self, rng, connection):
        self.stream(rng, connection, pause=rng.choice([0.02, 0.1]))
        connection.close()  # it may have idled too long for the server, which had sent all before all was read

    def whole(self, rng, connection):
        n_new, n = rng.randint(1, 64), rng.choice([1, 1, 1, 4])
        begin = time.monotonic()
        body = {"prompt": self.prompt(rng, 256), "max_tokens": n_new, "n": n, "ignore_eos": True, "temperature": 0.8}
        answer = json.loads(self.post(connection, "/v1/completions", body).read())
        self.add_time("whole", time.monotonic() - begin)
        if len(answer["choices"]) != n or answer["usage"]["completion_tokens"] != n * n_new:
            raise AssertionError(f"{n} answers of {n_new} tokens were asked for: {answer['usage']}")
        self.ended("length")

    def leave(self, rng, connection):
        body = {"prompt": self.prompt(rng, 256), "max_tokens": 160, "stream": True, "ignore_eos": True}
        for _ in self.events(self.post(connection, "/v1/completions", body), at_most=rng.randint(1, 30)):
            pass
        connection.close()

    def score(self, rng, connection):
        prompt = self.prompt(rng, 256)
        body = {"prompt": prompt, "max_tokens": rng.choice([0, 4]), "echo": True, "logprobs": 2, "ignore_eos": True}
        answer = json.loads(self.post(connection, "/v1/completions", body).read())
        logprobs = answer["choices"][0]["logprobs"]["token_logprobs"]
        if len(logprobs) != len(prompt) + body["max_tokens"] or logprobs[0] is not None or not all(p <= 0 for p in logprobs[1:]):
            raise AssertionError(f"{len(logprobs)} log-probabilities of {len(prompt)} + {body['max_tokens']} tokens")
        self.ended("length")

    def vector(self, rng, connection):
        texts = [self.prompt(rng, 128) for _ in range(rng.randint(1, 4))]
        answer = json.loads(self.post(connection, "/v1/embeddings", {"input": texts}).read())
        lengths = [sum(x * x for x in item["embedding"]) for item in answer["data"]]
        if len(lengths) != len(texts) or any(abs(length - 1) > 1e-3 for length in lengths):
            raise AssertionError(f"{len(texts)} vectors of length 1 were asked for: {lengths}")

    def wrong(self, rng, connection):
        def expect(status, method, path, body, headers=None):
            connection.request(method, path, body, headers or {"Content-Type": "application/json"})
            response = connection.getresponse()
            told = response.read()
            if response.status != status or "message" not in json.loads(told)["error"]:
                raise AssertionError(f"{method} {path} {body!r}: {response.status} instead of {status}: {told[:200]!r}")

        kind = rng.randrange(7)
        if kind == 0:
            expect(400, "POST", "/v1/completions", '{"prompt": "a", "max_tokens": "many"}')
        elif kind == 1:
            expect(400, "POST", "/v1/completions", '{"prompt": ')
        elif kind == 2:
            expect(400, "POST", "/v1/completions", json.dumps({"prompt": [1 << 30]}))
        elif kind == 3:
            expect(404, "POST", "/v1/nothing", "{}")
        elif kind == 4:
            expect(415, "POST", "/v1/completions", "{}", {"Content-Type": "text/plain"})
        else:
            with socket.create_connection(("127.0.0.1", self.port), timeout=30) as raw:
                if kind == 5:
                    raw.sendall(rng.randbytes(200) + b"\r\n\r\n")
                    told = raw.recv(4096)
                    if told and not told.startswith(b"HTTP/1.1 4"):
                        raise AssertionError(f"bytes that are no request got {told[:100]!r}")
                else:
                    raw.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
                    time.sleep(0.2)  # and away
        time.sleep(0.05)

    # -- what they count

    def add_time(self, what, seconds):
        with self.lock:
            self.times[what].append(seconds)

    def ended(self, reason):
        with self.lock:
            self.endings[reason] += 1

    def run_client(self, kind, number):
        act = {"streams": self.stream, "wholes": self.whole, "leavers": self.leave, "slow": self.slow, "scores": self.score,
               "vectors": self.vector, "wrong": self.wrong}[kind]
        rng = random.Random(f"{kind} {number}")
        connection = self.connect()
        while not self.stop.is_set():
            try:
                act(rng, connection)
                with self.lock:
                    self.counts[kind] += 1
            except Refused as refused:
                with self.lock:
                    self.counts["refused"] += 1
                    if refused.seconds < 1:
                        self.problems.append(f"{kind}: a refusal without Retry-After")
                time.sleep(min(max(refused.seconds, 0), 2))
            except Exception as e:  # every surprise is a finding
                with self.lock:
                    self.problems.append(f"{kind}: {type(e).__name__}: {e}")
                connection.close()
                connection = self.connect()
        connection.close()

    def metrics(self):
        connection = self.connect()
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return {name: float(value) for name, value in re.findall(r"^(mla_\S+) (\S+)$", text, re.M)}

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def probe(self, begin):
        connection = self.connect()
        for tick in range(1 << 30):
            if self.stop.is_set():
                return
            at = time.monotonic()
            try:
                connection.request("GET", "/livez")
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    raise AssertionError(f"{response.status}")
                self.add_time("livez", time.monotonic() - at)
                if tick % 10 == 0:
                    m = self.metrics()
                    self.add_time("running", m["mla_requests_running"])
                    self.memory.append((round(at - begin), self.resident_bytes()))
            except Exception as e:
                self.problems.append(f"/livez: {type(e).__name__}: {e}")
                connection = self.connect()
            if tick % 100 == 0:
                print(f"  {time.monotonic() - begin:5.0f} s: {dict(self.counts)}, {len(self.problems)} problems", file=sys.stderr)
            time.sleep(0.1)

    # -- the whole

    def run(self):
        descriptors_before = self.descriptors()
        begin = time.monotonic()
        threads = [threading.Thread(target=self.run_client, args=(kind, i)) for kind, n in KINDS.items() for i in range(n)]
        threads.append(threading.Thread(target=self.probe, args=(begin,)))
        for thread in threads:
            thread.start()
        time.sleep(self.o.seconds)
        self.stop.set()
        for thread in threads:
            thread.join(300)
            if thread.is_alive():
                self.problems.append("a client still waits for its answer five minutes after the end")
        seconds = time.monotonic() - begin
        return self.settle(seconds, descriptors_before)

    def settle(self, seconds, descriptors_before):
        deadline = time.monotonic() + 30  # idle connections are closed after 15 s
        while True:
            m, descriptors = self.metrics(), self.descriptors()
            quiet = m["mla_requests_running"] == 0 and m["mla_requests_waiting"] == 0 and m["mla_kv_cache_usage_ratio"] == 0
            if (quiet and descriptors <= descriptors_before) or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        if not quiet:
            self.problems.append(f"after the end {m['mla_requests_running']:g} run, {m['mla_requests_waiting']:g} wait")
        if descriptors > descriptors_before:
            self.problems.append(f"{descriptors} file descriptors, {descriptors_before} at the beginning")
        counted = m['mla_requests_total{finish_reason="length"}']
        if counted < self.endings["length"]:
            self.problems.append(f"clients got {self.endings['length']} complete answers, the server counted {counted:g}")
        # The caches fill at first: what counts is the second half.
        half = [size for at, size in self.memory if at >= seconds / 2]
        if half and self.o.seconds >= 120 and half[-1] > half[0] * 1.05 + (16 << 20):
            self.problems.append(f"memory grew from {half[0] >> 20} to {half[-1] >> 20} MiB in the second half")
        return {"seconds": round(seconds, 1), "requests": dict(self.counts), "problems": self.problems[:100], "n_problems": len(self.problems),
                "seconds_by_what": {what: percentiles(values) for what, values in self.times.items() if what != "running"},
                "running": percentiles(self.times["running"]),
                "server": {name: value for name, value in sorted(m.items()) if "_bucket" not in name and value},
                "resident_mib": {"half_time": half[0] >> 20 if half else None, "end": half[-1] >> 20 if half else None},
                "descriptors": {"begin": descriptors_before, "end": descriptors}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mla", default="build/release/bin/mla")
    parser.add_argument("--model", required=True, help="with a context of 512 tokens or more")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--cache-tokens", type=int, default=4096, help="fewer than all clients' together")
    parser.add_argument("--vocabulary", type=int, default=1000, help="token ids below this are used")
    parser.add_argument("--mla-flags", nargs="*", default=[], help="more flags for the server")
    parser.add_argument("--out", help="the JSON document (default: standard output)")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mla-soak-"))
    command = [options.mla, "serve", "-m", options.model, "--port", "0", "--cache-tokens", str(options.cache_tokens), "--max-queue", "16",
               "--max-connections-per-peer", "256", "--disk-cache", str(folder / "cache"), "--disk-cache-budget", "256MiB", "--quiet", *options.mla_flags]
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    address = server.stdout.readline().decode().strip()
    soak = Soak(options, int(address.rsplit(":", 1)[1]), server.pid)
    while True:  # the model is being loaded
        connection = soak.connect()
        connection.request("GET", "/health")
        if connection.getresponse().status == 200:
            break
        time.sleep(0.1)
    connection.close()
    time.sleep(1)
    result = soak.run()
    server.send_signal(signal.SIGTERM)
    code = server.wait(60)
    if code != 0:
        result["problems"].append(f"the server ended with {code}")
        result["n_problems"] += 1
    document = {"benchmark": "soak", "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "model": os.path.basename(options.model), "flags": [flag.replace(str(folder), "FOLDER") for flag in command[4:]], **result}
    text = json.dumps(document, indent=1) + "\n"
    if options.out:
        pathlib.Path(options.out).write_text(text, encoding="ascii")
    else:
        sys.stdout.write(text)
    if result["n_problems"]:
        sys.exit(f"{result['n_problems']} problems, among them:\n  " + "\n  ".join(result["problems"][:10]) + f"\nthe server's log: {folder / 'server.log'}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
