"""A headless Chromium, driven over its DevTools pipe: one page, no package beyond Python's own."""
import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time

PATIENCE_S = 60
KEYS = {"Enter": 13, "Escape": 27, "Tab": 9}


def find():
    """The browser of the distribution; None: there is none."""
    return next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)


class Page:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="sluice-page-", ignore_cleanup_errors=True)
        (command_out, command_in), (answer_out, answer_in) = os.pipe(), os.pipe()
        # high numbers first, so that neither end is in the way of 3 and 4, which Chromium reads and writes
        ends = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (command_out, answer_in)]
        os.close(command_out), os.close(answer_in)
        self.process = subprocess.Popen(
            [find(), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe", "--hide-scrollbars",
             "--disable-background-networking", "--user-data-dir=" + self.folder.name, "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(3, 4),
            preexec_fn=lambda: (os.dup2(ends[0], 3), os.dup2(ends[1], 4)))
        for fd in ends:
            os.close(fd)
        self.write_fd, self.read_fd = command_in, answer_out
        self.answers, self.arrived, self.next_id, self.session = {}, threading.Condition(), 0, None
        self.complaints, self.requests = [], []  # what the console, the policy and scripts complained of; every address asked for
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def _read(self):
        rest = b""
        while piece := os.read(self.read_fd, 1 << 16):
            *lines, rest = (rest + piece).split(b"\0")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, message):
        with self.arrived:
            if "id" in message:
                self.answers[message["id"]] = message
                self.arrived.notify_all()
            method, about = message.get("method"), message.get("params", {})
            if method == "Network.requestWillBeSent":
                self.requests.append(about["request"]["url"])
            elif method == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(about["exceptionDetails"])[:600])
            elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
                self.complaints.append(json.dumps(about["entry"])[:600])
            elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(about["args"])[:600])

    def call(self, method, **params):
        with self.arrived:
            self.next_id += 1
            number = self.next_id
        message = {"id": number, "method": method, "params": params, **({"sessionId": self.session} if self.session else {})}
        os.write(self.write_fd, json.dumps(message).encode() + b"\0")
        with self.arrived:
            if not self.arrived.wait_for(lambda: number in self.answers, PATIENCE_S):
                raise TimeoutError(method)
            answer = self.answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def js(self, expression):
        """The value of an expression in the page; a promise is waited for."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"])[:600])
        return result["result"].get("value")

    def wait(self, expression):
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            value = self.js(expression)
            if value:
                return value
            time.sleep(0.03)
        raise AssertionError(f"never in the page: {expression}")

    def open(self, url, width=1280, height=800, phone=False):
        self.size(width, height, phone)
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def size(self, width, height, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone)

    def colours(self, scheme):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def type(self, text):
        self.call("Input.insertText", text=text)

    def press(self, key, alt=False, shift=False):
        code = KEYS.get(key, ord(key.upper()) if len(key) == 1 else 0)
        about = {"key": key, "code": key if key in KEYS else "Key" + key.upper(), "windowsVirtualKeyCode": code,
                 "modifiers": (1 if alt else 0) | (8 if shift else 0)}
        if key == "Enter":
            about["text"] = "\r"
        self.call("Input.dispatchKeyEvent", type="keyDown", **about)
        about.pop("text", None)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def screenshot(self, path):
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        self.session = None
        try:
            self.call("Browser.close")
        except (RuntimeError, TimeoutError, OSError):
            pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.write_fd)
        self.reader.join(5)
        os.close(self.read_fd)
        self.folder.cleanup()
