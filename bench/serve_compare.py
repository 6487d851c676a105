#!/usr/bin/env python3
"""Our server against llama-server: the same file, the same load, one after the other.

    bench/serve_compare.py --peer /path/to/llama-server --model model.gguf --out bench/results/serve-NAME.json

Measures, --rounds times with the servers in turn (who begins changes every round), each on a server that has just been started:

  clients   32 closed-loop clients, 512-token prompts, 128-token answers: output tokens per second
  prefix    32 clients that share a 2,000-token prefix (64 tokens of their own, 128-token answers): output tokens per second
  intruder  99th percentile of the gaps between tokens of 8 running streams while a 4,096-token prompt arrives
  restart   ours only: first token of a 4,096-token prompt when it is computed, and after a restart when it is on disk

and writes every run and the ratios of the medians as one JSON document. Only one server runs at a time. Both get the same number of threads, room for
all requests at once, continuous batching and their prefix caches; extra flags for either: --mla-flags, --peer-flags. --also "NAME=FLAGS" and --also-peer
"NAME=FLAGS" measure more ways to run either in the same turns; every one of ours is then compared with the peer's best. --context-length N measures on a copy of
the file whose metadata allows N tokens (the model that ships was trained for 512). Needs nothing but Python.

Measure on a machine without other work: the peer's speed was seen to fall far more than ours when other programs ran, so that the ratio would flatter.
"""

import argparse
import datetime
import json
import os
import pathlib
import shlex
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

CLIENTS = 32
LOADS = {
    "clients": ["--concurrency", str(CLIENTS), "--mix", "512x128"],
    "prefix": ["--concurrency", str(CLIENTS), "--mix", "64x128", "--shared-prefix", "2000"],
    "intruder": ["--concurrency", "8", "--mix", "64x2048", "--intruder", "4096x1", "--intruders", "3"],
}
# Tokens that must fit at once: every request's, and a spare.
TOKENS = {"clients": 33 * (512 + 128), "prefix": 33 * (2000 + 64 + 128), "intruder": 9 * (64 + 2048) + 4096, "restart": 2 * 4224}
LONGEST = {"clients": 640, "prefix": 2192, "intruder": 4097, "restart": 4097}


def patched_copy(source, target, context_length):
    """Copies a GGUF file with another context length (format: ggml/docs/gguf.md; version 3, little-endian)."""
    shutil.copyfile(source, target)
    with open(target, "r+b") as f:
        def read(form):
            return struct.unpack("<" + form, f.read(struct.calcsize("<" + form)))[0]

        def text():
            return f.read(read("Q"))

        def skip(kind):
            sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
            if kind == 8:
                text()
            elif kind == 9:
                element, count = read("I"), read("Q")
                if element in sizes:
                    f.seek(sizes[element] * count, 1)
                else:
                    for _ in range(count):
                        skip(element)
            else:
                f.seek(sizes[kind], 1)

        if f.read(4) != b"GGUF" or read("I") != 3:
            sys.exit(f"{source}: expected a GGUF file of version 3")
        read("Q")
        for _ in range(read("Q")):
            key, kind = text(), read("I")
            if key.endswith(b".context_length") and kind == 4:
                f.write(struct.pack("<I", context_length))
                return
            skip(kind)
    sys.exit(f"{source}: has no context_length to change")


class Server:
    """One server process; a context manager that waits until it is ready and stops it as an operator would."""

    def __init__(self, name, command, port, log):
        self.name, self.command, self.port, self.log = name, command, port, log

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        begin = time.monotonic()
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)
        while True:
            if self.process.poll() is not None:
                sys.exit(f"{self.name} ended with {self.process.returncode}; its log: {self.log.name}\n  {shlex.join(self.command)}")
            try:
                with urllib.request.urlopen(self.url + "/health", timeout=2) as answer:
                    if answer.status == 200:
                        break
            except (urllib.error.URLError, OSError):
                pass
            if time.monotonic() - begin > 600:
                self.process.kill()
                sys.exit(f"{self.name} is not ready after ten minutes; its log: {self.log.name}")
            time.sleep(0.02)
        self.start_seconds = time.monotonic() - begin
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Comparison:
    def __init__(self, options, folder):
        self.o, self.folder = options, folder
        self.model = options.model
        if options.context_length:
            self.model = str(folder / "model.gguf")
            patched_copy(options.model, self.model, options.context_length)
        self.log = open(folder / "servers.log", "wb")
        self.n_loads = 0

    def contestants(self, what):
        """Every server of this comparison, not yet started."""
        return [self.ours(what, name, flags) for name, flags in self.o.ours] + [self.theirs(what, name, flags) for name, flags in self.o.theirs]

    def ours(self, what, name, flags):
        command = [self.o.mla, "serve", "-m", self.model, "--host", "127.0.0.1", "--port", str(self.o.port), "--threads", str(self.o.threads),
                   "--cache-tokens", str(TOKENS[what]), "--max-connections-per-peer", str(CLIENTS + 8), "--quiet"]
        if what == "restart":
            command += ["--disk-cache", str(self.folder / "cache")]
        return Server(name, command + shlex.split(flags), self.o.port, self.log)

    def theirs(self, what, name, flags):
        # A slot for every request at once, each with a cache of its own: one pool for all (-kvu) makes every token look at every slot's rows. Continuous
        # batching, prompt caches in slots and in memory, and flash attention where it helps are its defaults and said here for the record.
        slots = 9 if what == "intruder" else CLIENTS + 1
        slot_tokens = (LONGEST[what] + 64 + 255) // 256 * 256
        command = [self.o.peer, "-m", self.model, "--host", "127.0.0.1", "--port", str(self.o.port), "-t", str(self.o.threads), "-tb", str(self.o.threads),
                   "-np", str(slots), "-c", str(slots * slot_tokens), "--no-kv-unified", "-cb", "--cache-prompt", "-fa", "auto", "-b", "2048", "-ub", "512", "--no-webui"]
        return Server(name, command + shlex.split(flags), self.o.port, self.log)

    def load(self, server, flags, seed=None):
        self.n_loads += 1
        seed = self.n_loads if seed is None else seed
        command = [self.o.mla, "bench", "serve", "--url", server.url, "--json", "--ignore-eos", "--timeout", "3600", "--seed", str(seed)] + flags
        ran = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if ran.returncode != 0:
            sys.exit(f"the load ended with {ran.returncode}: {shlex.join(command)}\n{ran.stdout.decode()}")
        document = json.loads(ran.stdout)
        results = document["results"]
        for group in ("latency_seconds", "intruder_seconds"):
            for distribution in results.get(group, {}).values():
                distribution.pop("curve", None)
        if results["requests"]["failed"]:
            print(f"  {server.name}: {results['requests']['failed']} requests failed: {results['errors']}", file=sys.stderr)
        return {"load": document["load"], **results}

    def measure(self, what, server):
        flags = list(LOADS[what])
        if what != "intruder":
            flags += ["--requests", str(self.o.requests)]
        with server:
            results = self.load(server, flags)
        if what == "intruder":
            value = results["intruder_seconds"]["inter_token_during"]["p99"]
        else:
            value = results["throughput"]["output_tokens_per_second"]
        return value, results

    def first_token(self, server, seed):
        """Seconds to the first token of the long prompt of this seed, on a server that has computed something before."""
        self.load(server, ["--concurrency", "1", "--requests", "2", "--mix", "64x4", "--warmup", "0"])
        results = self.load(server, ["--concurrency", "1", "--requests", "1", "--mix", "4096x1", "--warmup", "0"], seed)
        return results["latency_seconds"]["ttft"]["mean"], results["tokens"]["cached"]

    def restart(self, seed):
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        name, flags = self.o.ours[0]
        with self.ours("restart", name, flags) as server:
            computed, _ = self.first_token(server, seed)
        with self.ours("restart", name, flags) as server:
            from_disk, cached = self.first_token(server, seed)
            start = server.start_seconds
        return {"computed_seconds": computed, "from_disk_seconds": from_disk, "cached_tokens": cached, "start_seconds": start, "ratio": computed / from_disk}

    def run(self):
        runs = {what: {name: [] for name, _ in self.o.ours + self.o.theirs} for what in self.o.measure if what != "restart"}
        restarts = []
        for turn in range(self.o.rounds):
            for what, of in runs.items():
                servers = self.contestants(what)
                for server in servers if turn % 2 == 0 else reversed(servers):
                    value, results = self.measure(what, server)
                    of[server.name].append({"value": value, "results": results})
                    print(f"round {turn + 1}  {what:<9} {server.name:<8} {value:10.4g}", file=sys.stderr)
            if "restart" in self.o.measure:
                restarts.append(self.restart(1000000 + turn))
                print(f"round {turn + 1}  restart   {restarts[-1]}", file=sys.stderr)
        return self.document(runs, restarts)

    def document(self, runs, restarts):
        def version(command):
            ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            return [line for line in ran.stdout.decode().splitlines() if line.strip()][-2:]

        ratios = {}
        for what, of in runs.items():
            medians = {name: statistics.median(run["value"] for run in of[name]) for name in of}
            less = what == "intruder"
            best = (min if less else max)(medians[name] for name, _ in self.o.theirs)
            ratios[what] = {"medians": medians, "unit": "s" if less else "output tokens/s", "better": "less" if less else "more",
                            "ratio": {name: medians[name] / best for name, _ in self.o.ours}}
        if restarts:
            ratios["restart"] = {"computed": statistics.median(r["computed_seconds"] for r in restarts),
                                 "from_disk": statistics.median(r["from_disk_seconds"] for r in restarts), "unit": "s", "better": "more",
                                 "ratio": {self.o.ours[0][0]: statistics.median(r["ratio"] for r in restarts)}}
        with open("/proc/cpuinfo", encoding="ascii") as cpuinfo:
            processor = next((line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")), "")
        return {"benchmark": "serve_compare", "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), "processor": processor,
                "threads": self.o.threads, "model": os.path.basename(self.o.model), "context_length": self.o.context_length or None,
                "versions": {"mla": version([self.o.mla, "--version"]), "peer": version([self.o.peer, "--version"])},
                "flags": {what: {server.name: server.command[server.command.index("--host"):] for server in self.contestants(what)} for what in runs},
                "ratios": ratios, "runs": runs, "restarts": restarts}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mla", default="build/release/bin/mla")
    parser.add_argument("--peer", required=True, help="llama-server")
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=3 * CLIENTS, help="of the loads with 32 clients")
    parser.add_argument("--measure", default="clients,prefix,intruder,restart", help="which, comma-separated")
    parser.add_argument("--context-length", type=int, default=0, help="measure on a copy of the model that allows so many tokens")
    parser.add_argument("--port", type=int, default=18080)
    parser.add_argument("--mla-flags", default="", help="more flags for our server")
    parser.add_argument("--peer-flags", default="", help="more flags for the peer")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=FLAGS", help="measure ours with these flags too")
    parser.add_argument("--also-peer", action="append", default=[], metavar="NAME=FLAGS", help="measure the peer with these flags too")
    parser.add_argument("--out", help="the JSON document (default: standard output)")
    options = parser.parse_args()
    options.measure = options.measure.split(",")
    unknown = set(options.measure) - {*LOADS, "restart"}
    if unknown:
        parser.error(f"--measure: unknown: {', '.join(sorted(unknown))}")
    needed = max(LONGEST[what] for what in options.measure)
    if options.context_length and options.context_length < needed:
        parser.error(f"--context-length: the longest request has {needed} tokens")
    options.ours = [("mla", options.mla_flags)] + [tuple(also.split("=", 1)) for also in options.also]
    options.theirs = [("peer", options.peer_flags)] + [tuple(also.split("=", 1)) for also in options.also_peer]
    names = [contestant[0] for contestant in options.ours + options.theirs]
    if any(len(contestant) != 2 for contestant in options.ours + options.theirs) or len(set(names)) != len(names):
        parser.error("--also, --also-peer: expected NAME=FLAGS with names of their own")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mla-serve-compare-"))
    document = Comparison(options, folder).run()
    shutil.rmtree(folder)
    for what, ratio in document["ratios"].items():
        print(f"{what:<9} ratio {', '.join(f'{name} {value:.3g}' for name, value in ratio['ratio'].items())}", file=sys.stderr)
    text = json.dumps(document, indent=1) + "\n"
    if options.out:
        pathlib.Path(options.out).write_text(text, encoding="ascii")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
