#!/usr/bin/env python3
"""Uses the page of a running `capsmith serve` as a person does, in Chromium, and takes screenshots.

usage: serve.py ADDRESS PICTURE SCREENSHOTS AXE

ADDRESS is such as http://127.0.0.1:8080, of a server with a run of each system (clip-prefix, sbg, merge-rnn).
AXE is axe-core's axe.min.js. Needs Chromium and chromedriver, and the packages of requirements.txt. Ends with a
traceback where the page does not do what it should.
"""

import base64
import csv
import io
import json
import sys
import tempfile
from pathlib import Path
from shutil import which

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

SIZES = {"desktop": (1400, 1000, False), "phone": (390, 844, True)}


def browser(width, height, mobile, dark):
    options = webdriver.ChromeOptions()
    for argument in ["--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={width},{height}"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = which("chromium") or which("google-chrome")
    driver = webdriver.Chrome(options=options, service=Service(which("chromedriver")))
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    # A click must not meet a page that is still scrolling.
    motion = {"name": "prefers-reduced-motion", "value": "reduce"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, motion]})
    return driver


def find(driver, selector):
    return driver.find_element(By.CSS_SELECTOR, selector)


def finished(driver):
    """Waits until nothing is being captioned, and returns the pictures, newest first."""
    ready = "return document.querySelector('#results').getAttribute('aria-busy') === 'false'"
    WebDriverWait(driver, 240).until(lambda _: driver.execute_script(ready))
    return driver.find_elements(By.CSS_SELECTOR, "#results article")


def results(article, runs):
    """Returns the results of a picture by their systems."""
    found = article.find_elements(By.CSS_SELECTOR, ".result")
    assert len(found) == runs, (len(found), article.text)
    return {result.get_attribute("data-system"): result for result in found}


def accessible(driver, axe):
    """Fails for a serious finding of axe-core."""
    driver.execute_script(axe)
    found = driver.execute_async_script("axe.run().then(arguments[0])")["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not serious, [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious]


def saved(driver, button):
    """Returns the text of the file that a button saves."""
    driver.execute_script(
        "window.blobs = []; const create = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { window.blobs.push(blob); return create(blob); };"
    )
    find(driver, button).click()
    return driver.execute_async_script("window.blobs.at(-1).text().then(arguments[0])")


def shoot(driver, path):
    """The whole page, however long it is."""
    size = driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    path.write_bytes(base64.b64decode(shot["data"]))


def use(driver, address, picture, shots, name, axe):
    driver.get(f"{address}/docs")
    WebDriverWait(driver, 20).until(lambda _: len(driver.find_elements(By.CSS_SELECTOR, ".docs section")) > 7)
    accessible(driver, axe)
    narrow(driver)
    shoot(driver, shots / f"{name}-docs.png")

    driver.get(address)
    WebDriverWait(driver, 20).until(lambda _: driver.find_elements(By.CSS_SELECTOR, ".run"))
    off = ["#submit", "#csv", "#json", "#clear"]
    assert not any(find(driver, button).is_enabled() for button in off), "there is nothing to caption yet"
    samples = driver.find_elements(By.CSS_SELECTOR, ".samples img")
    assert "3 models are ready" in find(driver, "#ready").text
    assert len(driver.find_elements(By.CSS_SELECTOR, "#systems dt")) == 3, "each system is introduced"
    for sample in samples:
        WebDriverWait(driver, 20).until(lambda _: sample.get_property("naturalWidth") > 0)
    accessible(driver, axe)
    shoot(driver, shots / f"{name}-empty.png")

    # One picture: each run's caption, the best one marked, keywords, and times on demand.
    find(driver, "#file").send_keys(str(picture))
    (article,) = finished(driver)
    parts = results(article, 3)
    scores = {}
    for system, part in parts.items():
        assert part.find_element(By.CSS_SELECTOR, ".caption").text.strip()
        scores[system] = float(part.find_element(By.CSS_SELECTOR, "output").text)
    best = [system for system, part in parts.items() if part.find_element(By.CSS_SELECTOR, ".best").is_displayed()]
    assert best and all(scores[system] == max(scores.values()) for system in best), (best, scores)
    assert find(driver, "#scale").is_displayed()
    titles = [part.find_element(By.CSS_SELECTOR, ".title").text for part in parts.values()]
    assert [title.split(",")[0] for title in titles] == ["CLIP-prefix", "SBG", "Merge-RNN"], titles
    chips = parts["sbg"].find_elements(By.CSS_SELECTOR, ".words li")
    assert chips and all(chip.text for chip in chips), "SBG's keywords are not shown"
    assert not parts["clip-prefix"].find_element(By.CSS_SELECTOR, ".words").is_displayed()
    time = article.find_element(By.CSS_SELECTOR, ".time summary")
    assert time.text.endswith(" s") and not article.find_element(By.CSS_SELECTOR, ".time li").is_displayed()
    time.click()
    assert "ms models" in article.find_element(By.CSS_SELECTOR, ".time li").text
    time.click()
    accessible(driver, axe)
    shoot(driver, shots / f"{name}-captions.png")

    # Beam search for CLIP-prefix alone, by keyboard where it goes by keyboard.
    for run in driver.find_elements(By.CSS_SELECTOR, ".run"):
        box = run.find_element(By.CSS_SELECTOR, "input[name=run]")
        if run.get_attribute("data-system") == "clip-prefix":
            run.find_element(By.CSS_SELECTOR, "summary").send_keys(Keys.ENTER)
            Select(run.find_element(By.CSS_SELECTOR, "[data-key=kind]")).select_by_value("beam")
            beams = run.find_element(By.CSS_SELECTOR, "[data-key=num_beams]")
            assert not run.find_element(By.CSS_SELECTOR, "[data-key=num_return_sequences]").is_displayed()
            beams.clear()
            beams.send_keys("4")
            chosen = box
        else:
            box.send_keys(Keys.SPACE)
            assert not box.is_selected()
    chosen.send_keys(Keys.SPACE)
    assert not find(driver, "#submit").is_enabled(), "no run is chosen"
    chosen.send_keys(Keys.SPACE)
    find(driver, "#submit").send_keys(Keys.ENTER)
    articles = finished(driver)
    assert len(articles) == 2, "the first captions stay"
    part = results(articles[0], 1)["clip-prefix"]
    part.find_element(By.CSS_SELECTOR, "summary").click()
    # Of four beams, those that differ.
    rows = len(part.find_elements(By.CSS_SELECTOR, "tbody tr"))
    assert 1 < rows <= 4 and str(rows) in part.find_element(By.CSS_SELECTOR, "summary").text, rows
    shoot(driver, shots / f"{name}-beams.png")

    # A value out of range is not sent.
    beams.clear()
    beams.send_keys("1000")
    find(driver, "#submit").click()
    assert driver.execute_script("return document.querySelector(':invalid[data-key=num_beams]') !== null")
    beams.clear()
    beams.send_keys("2")

    # Of two files one is no picture: its error is in words, and the other is captioned.
    with tempfile.NamedTemporaryFile(suffix=".jpg") as text:
        text.write(b"This is not a picture.")
        text.flush()
        find(driver, "#file").send_keys(f"{text.name}\n{picture}")
        articles = finished(driver)
        assert len(articles) == 4
        assert "is not a JPEG" in articles[0].find_element(By.CSS_SELECTOR, ".failed").text
        assert results(articles[1], 1)["clip-prefix"].find_element(By.CSS_SELECTOR, ".caption").text
        assert len(driver.find_elements(By.CSS_SELECTOR, "#previews img")) == 1, "a broken picture is shown"
    assert find(driver, "#status").text.startswith("1 of 2 captioned in ")
    accessible(driver, axe)
    shoot(driver, shots / f"{name}-several.png")

    # A sample picture, the copy and the files.
    if samples:
        find(driver, ".samples button").click()
        WebDriverWait(driver, 20).until(lambda _: len(driver.find_elements(By.CSS_SELECTOR, "article")) == 5)
        articles = finished(driver)
        assert results(articles[0], 1)["clip-prefix"].find_element(By.CSS_SELECTOR, ".caption").text
    articles[1 if not samples else 0].find_element(By.CSS_SELECTOR, ".copy").click()
    WebDriverWait(driver, 5).until(lambda _: "Copied" in find(driver, "#results").text)
    captions = 5 + bool(samples)
    table = list(csv.DictReader(io.StringIO(saved(driver, "#csv"))))
    assert len(table) == captions and table[0]["picture"] == picture.name and table[0]["text"], table
    rows = json.loads(saved(driver, "#json"))
    assert [row["caption"] for row in rows] == [row["caption"] for row in table]
    find(driver, "#clear").click()
    assert not driver.find_elements(By.CSS_SELECTOR, "#results article")
    assert not find(driver, "#csv").is_enabled() and find(driver, "#empty").is_displayed()

    narrow(driver)
    unnamed = driver.execute_script(
        "return [...document.querySelectorAll('input, select')].filter((e) => !e.labels.length).map((e) => e.outerHTML)"
    )
    assert not unnamed, unnamed
    seen = [entry["message"] for entry in driver.get_log("browser")]
    assert not seen, seen


def narrow(driver):
    wide = driver.execute_script("return document.documentElement.scrollWidth > innerWidth")
    assert not wide, "the page is wider than the window"


def main():
    address, picture, shots = sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3])
    axe = Path(sys.argv[4]).read_text()
    shots.mkdir(parents=True, exist_ok=True)
    for dark in (False, True):
        for name, (width, height, mobile) in SIZES.items():
            driver = browser(width, height, mobile, dark)
            try:
                use(driver, address, picture, shots, f"{name}-{'dark' if dark else 'light'}", axe)
            finally:
                driver.quit()
    print(f"the page does what it should; screenshots are in {shots}")


if __name__ == "__main__":
    main()
