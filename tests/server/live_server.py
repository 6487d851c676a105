"""Starts `mla serve` for a test and ends it."""

import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request


class Server:
    def __init__(self, command, model, *flags, wait=True):
        self.log = tempfile.TemporaryFile()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLA_")}
        environment["HOME"] = tempfile.gettempdir()
        port = [] if "--unix-socket" in flags else ["--port", "0"]
        self.process = subprocess.Popen(
            [command, "serve", "-m", model, *port, *flags], stdout=subprocess.PIPE, stderr=self.log, env=environment
        )
        self.address = self.process.stdout.readline().decode().strip()
        if not self.address:
            messages = self.messages()
            self.stop()
            raise RuntimeError("the server did not start:\n" + messages)
        if wait and self.address.startswith("http"):
            self.wait_until_ready()

    def messages(self):
        """What it has written to standard error so far."""
        if not self.log.closed:
            self.log.seek(0)
            self.said = self.log.read().decode(errors="replace")
        return self.said

    def get(self, path, headers={}):
        """Status and body."""
        try:
            with urllib.request.urlopen(urllib.request.Request(self.address + path, headers=headers), timeout=30) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def post(self, path, body, headers={}):
        """Status and parsed body."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            self.address + path, data=data, headers={"Content-Type": "application/json", **headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as r:
                return r.status, json.load(r)
        except urllib.error.HTTPError as e:
            return e.code, json.load(e)

    def metric(self, name):
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        raise KeyError(name)

    def wait_until_ready(self, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError("the server ended:\n" + self.messages())
            if self.get("/livez")[0] == 200 and self.get("/readyz")[0] in (200, 401):
                return
            time.sleep(0.05)
        raise RuntimeError("the server is not ready:\n" + self.messages())

    def stop(self, with_signal=signal.SIGTERM, seconds=60):
        """The exit code."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.messages()
            self.log.close()
