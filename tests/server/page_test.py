#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The page for people, in headless Chromium: against a real vmserve, and with ten thousand hostile references.

Needs the programs in $VMPACK and $VMSERVE, chromium, chromedriver and python3-selenium. Exit code 77: not here.
$VMPACK_SCREENSHOTS names a folder for pictures of what was seen.
"""
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait
except ImportError:
    print("skipped: python3-selenium is not installed")
    sys.exit(77)

from real_clients import MIB, Server, World

MANY = 10_000
HOSTILE = "<img src=x onerror=alert(1)>"


class Fakes(http.server.BaseHTTPRequestHandler):
    """The real page with its real headers, and facts that no small repository has."""
    origin = ""
    sent = 0

    def do_GET(self):
        Fakes.sent += 200 * 1024 * 1024
        path = self.path
        if path == "/":
            with urllib.request.urlopen(Fakes.origin + "/") as answer:
                body, headers = answer.read(), answer.headers
            return self.reply(body, headers["Content-Type"], headers["Content-Security-Policy"])
        facts = {"/catalog.json": self.catalog, "/status.json": self.status, "/connections.json": self.connections}
        if path.startswith("/catalog/"):
            return self.reply_json(self.entry())
        if path in facts:
            return self.reply_json(facts[path]())
        self.send_error(404)

    @staticmethod
    def catalog():
        systems = ("Debian GNU/Linux 12 (bookworm)", "Fedora Linux 40", HOSTILE, None)
        rows = []
        for i in range(MANY):
            row = {"reference": f"image{i % 100:02}:2026-{i // 100:03}", "snapshot": f"{i:064x}",
                   "time": 1_790_000_000 + i * 60, "image_bytes": (i % 40 + 1) << 30, "data_bytes": (i % 40 + 1) << 28,
                   "stored_bytes": i << 14}
            if systems[i % 4]:
                row.update(os=systems[i % 4], packages=300 + i % 7)
            rows.append(row)
        rows[7] = {"reference": rows[7]["reference"], "snapshot": rows[7]["snapshot"], "time": 1, "damaged": True}
        return {"references": rows, "complete": True}

    @staticmethod
    def status():
        traffic = {"requests": 1_234_567, "bytes": Fakes.sent, "failures": 0}
        return {"version": "0", "seconds": 100_000,
                "repository": {"location": "s3://images/golden", "references": MANY, "snapshots": 9000, "image_bytes": 200 << 40,
                               "data_bytes": 50 << 40, "stored_bytes": 3 << 40},
                "connections": {"nbd": 200, "http": 3}, "traffic": {"nbd": traffic, "http": {**traffic, "bytes": 0}},
                "cache": {"hits": 99_000, "misses": 1000, "evictions": 10, "bytes": 700 << 20, "bytes_max": 1 << 30},
                "damage": 1, "references": [{"reference": "image05:2026-000", **traffic}]}

    @staticmethod
    def connections():
        return {"connections": [
            {"protocol": "nbd", "peer": f"10.0.0.{i}:4{i:04}", "certificate": HOSTILE if i == 0 else f"host{i}",
             "reference": f"image{i % 7:02}:2026-000", "seconds": 50.0 + i, "requests": 1000 * i, "bytes": Fakes.sent // (i + 1),
             "failures": 0} for i in range(200)]}

    @staticmethod
    def entry():
        packages = [{"name": f"package{i}", "version": f"1.{i}", "architecture": "amd64"} for i in range(900)]
        volumes = [{"number": 1, "name": "", "label": HOSTILE, "type": "ext4", "bytes": 10 << 30, "file_count": 30_000,
                    "free_bytes": 5 << 30}]
        return {"manifest": {"layout": {"volumes": volumes}, "labels": {"pipeline": HOSTILE}},
                "os": [{"product_name": "Debian GNU/Linux 12 (bookworm)", "architecture": "x86_64", "hostname": HOSTILE,
                        "packages": packages}]}

    def reply_json(self, facts):
        self.reply(json.dumps(facts).encode(), "application/json", None)

    def reply(self, body, kind, policy):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if policy:
            self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Browser:
    def __init__(self, folder, dark):
        options = Options()
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,1400",
                         "--disable-background-networking", "--disable-component-update", "--no-first-run",
                         "--user-data-dir=" + os.path.join(folder, "profile-dark" if dark else "profile-light")):
            options.add_argument(argument)
        options.binary_location = shutil.which("chromium")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                    {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
        self.dark = dark

    def open(self, url):
        self.url = url
        self.driver.get(url)
        self.wait(lambda: self.text("state-text") == "live", "the page is live")

    def wait(self, condition, what):
        WebDriverWait(self.driver, 30, 0.1).until(lambda _: condition(), what)

    def text(self, name):
        return self.driver.find_element(By.ID, name).text

    def rows(self, table="images"):
        script = "return [...document.querySelectorAll(arguments[0])].map(row => [...row.cells].map(cell => cell.innerText))"
        return self.driver.execute_script(script, f"#{table} tbody tr")

    def first(self):
        return self.rows()[0][0].split("\n")[0]

    def click(self, selector):
        self.driver.find_element(By.CSS_SELECTOR, selector).click()

    def search(self, text):
        field = self.driver.find_element(By.ID, "search")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(Keys.DELETE, text)

    def picture(self, name):
        folder = os.environ.get("VMPACK_SCREENSHOTS")
        if folder:
            self.driver.save_screenshot(os.path.join(folder, f"{name}-{'dark' if self.dark else 'light'}.png"))

    def check_quiet(self):
        """No error in the console, and not one request to anybody else."""
        errors = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        assert not errors, errors
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                assert url.startswith((self.url, "data:", "chrome:")), url

    def colours(self):
        script = "return [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        return [sum(int(part) for part in colour[4:-1].split(",")) for colour in self.driver.execute_script(script)]


# ---- what people do ----

def shows_the_server(browser, server):
    browser.open(server.http_uris[0] + "/")
    browser.wait(lambda: len(browser.rows()) == 2, "both references are listed")
    assert browser.text("f-references") == "2" and browser.text("f-snapshots") == "to 2 snapshots"
    assert browser.text("where").endswith("repo"), browser.text("where")
    reader = subprocess.Popen(["curl", "-s", "--limit-rate", "2M", "-o", "/dev/null", server.http_uris[0] + "/images/web:v1"])
    try:
        browser.wait(lambda: any(row[1] == "web:v1" for row in browser.rows("connections") if len(row) > 1),
                     "the reader is listed")
        browser.wait(lambda: any(row[0].startswith("web:v1") and row[6] != "0 B" for row in browser.rows()),
                     "its image has traffic")
    finally:
        reader.kill()
        reader.wait()
    browser.click("#images tbody button")
    browser.wait(lambda: "curl -C" in browser.text("d-body"), "the details are shown")
    browser.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
    browser.wait(lambda: not browser.driver.find_element(By.ID, "detail").is_displayed(), "the details are closed")
    browser.picture("real")


def finds_and_sorts_ten_thousand(browser, url):
    browser.open(url)
    browser.wait(lambda: "1 to 50 of 10,000" in browser.text("shown"), "the first of ten thousand are shown")
    assert browser.first() == "image00:2026-000", browser.first()
    browser.click("#after")
    assert "51 to 100" in browser.text("shown")
    browser.click("#before")
    browser.click("[data-sort=image_bytes]")
    assert browser.rows()[0][3] == "40.0 GiB", browser.rows()[0]
    browser.click("[data-sort=image_bytes]")
    assert browser.rows()[0][3] == "1.00 GiB", browser.rows()[0]
    browser.click("[data-sort=sent]")
    assert browser.first() == "image05:2026-000"
    browser.search("fedora image13:")
    browser.wait(lambda: "of 100, of 10,000 in all" in browser.text("shown") or "of 0" in browser.text("shown"), "found")
    browser.search("nothing is called so")
    browser.wait(lambda: "none of 0" in browser.text("shown"), "nothing is found")
    browser.search("")
    browser.wait(lambda: "of 10,000" in browser.text("shown"), "all are back")
    time.sleep(4.5)  # two rounds, for the rates
    browser.picture("many")


def shows_hostile_text_as_text(browser):
    browser.search("image02:2026-000")
    browser.wait(lambda: len(browser.rows()) == 1, "one is found")
    assert browser.rows()[0][1] == HOSTILE, browser.rows()[0]
    browser.click("#images tbody tr")
    browser.wait(lambda: "package899" in browser.text("d-body") or "package1 " in browser.text("d-body"), "packages")
    assert browser.text("d-body").count(HOSTILE) >= 3
    assert not browser.driver.find_elements(By.CSS_SELECTOR, "img")
    field = browser.driver.find_element(By.CSS_SELECTOR, "#d-body input")
    field.send_keys("package77")
    browser.wait(lambda: "package1 " not in browser.text("d-body"), "packages are filtered")
    browser.picture("detail")
    browser.click("#close")
    assert HOSTILE in browser.driver.find_element(By.ID, "connections").text
    browser.search("")


def is_light_or_dark(browser):
    background, text = browser.colours()
    assert (background < text) == browser.dark, (background, text)


def fits_a_telephone(browser):
    browser.driver.set_window_size(500, 900)
    width = browser.driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    browser.picture("narrow")
    browser.driver.set_window_size(1280, 1400)
    assert width <= 0, width


def main():
    for program in ("chromium", "chromedriver", "curl"):
        if not shutil.which(program):
            print(f"skipped: {program} is not installed")
            return 77
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder)
        world.ingest("web:v1", 1, 32 * MIB)
        world.ingest("web:v2", 2, 32 * MIB)
        server = Server(world.vmserve, world.repository, folder, "--http", "127.0.0.1:0")
        Fakes.origin = server.http_uris[0]
        fakes = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fakes)
        threading.Thread(target=fakes.serve_forever, daemon=True).start()
        for dark in (False, True):
            browser = Browser(folder, dark)
            try:
                shows_the_server(browser, server)
                browser.check_quiet()
                finds_and_sorts_ten_thousand(browser, f"http://127.0.0.1:{fakes.server_port}/")
                shows_hostile_text_as_text(browser)
                is_light_or_dark(browser)
                fits_a_telephone(browser)
                browser.check_quiet()
            finally:
                browser.driver.quit()
            print(f"ok {'dark' if dark else 'light'}", flush=True)
        fakes.shutdown()
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
