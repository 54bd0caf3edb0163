#!/usr/bin/env python3
"""Uses the page of a running `capsmith serve` as a person does, in Chromium, and takes screenshots.

usage: serve.py ADDRESS PICTURE SCREENSHOTS

ADDRESS is such as http://127.0.0.1:8080, of a server with a run of each system (clip-prefix, sbg, merge-rnn).
Wants Chromium and chromedriver, and the packages of requirements.txt. Ends with a traceback where the page
does not do what it should.
"""

import base64
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

SIZES = {"desktop": (1280, 1000, False), "phone": (390, 844, True)}


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
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    return driver


def find(driver, selector):
    return driver.find_element(By.CSS_SELECTOR, selector)


def captioned(driver, runs):
    """Waits for the captions of so many runs."""
    wait = WebDriverWait(driver, 60)
    wait.until(lambda _: find(driver, "#results").get_attribute("aria-busy") == "false")
    articles = driver.find_elements(By.CSS_SELECTOR, "#results article")
    assert len(articles) == runs, (len(articles), find(driver, "#error").text)
    return {article.find_element(By.CSS_SELECTOR, ".system").text: article for article in articles}


def shoot(driver, path):
    """The whole page, however long it is."""
    size = driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    path.write_bytes(base64.b64decode(shot["data"]))


def use(driver, address, picture, shots, name):
    driver.get(address)
    WebDriverWait(driver, 20).until(lambda _: driver.find_elements(By.CSS_SELECTOR, ".run"))
    shoot(driver, shots / f"{name}-empty.png")
    assert not find(driver, "#submit").is_enabled(), "there is nothing to caption yet"

    find(driver, "#file").send_keys(str(picture))
    articles = captioned(driver, 3)
    assert find(driver, "#preview").is_displayed()
    for article in articles.values():
        assert article.find_element(By.CSS_SELECTOR, ".caption").text.strip()
        assert -1 <= float(article.find_element(By.CSS_SELECTOR, "output").text) <= 1
    chips = articles["sbg"].find_elements(By.CSS_SELECTOR, ".words li")
    assert chips and all(chip.text for chip in chips), "SBG's keywords are not shown"
    assert not articles["clip-prefix"].find_element(By.CSS_SELECTOR, ".words").is_displayed()
    assert "ms" in find(driver, "#status").text
    shoot(driver, shots / f"{name}-captions.png")

    # Beam search for CLIP-prefix alone, by keyboard where it goes by keyboard.
    for run in driver.find_elements(By.CSS_SELECTOR, ".run"):
        box = run.find_element(By.CSS_SELECTOR, "input[name=run]")
        if run.find_element(By.CSS_SELECTOR, ".system").text == "clip-prefix":
            run.find_element(By.CSS_SELECTOR, "summary").send_keys(Keys.ENTER)
            Select(run.find_element(By.CSS_SELECTOR, "[data-key=kind]")).select_by_value("beam")
            beams = run.find_element(By.CSS_SELECTOR, "[data-key=beams]")
            assert not run.find_element(By.CSS_SELECTOR, "[data-key=samples]").is_displayed()
            beams.clear()
            beams.send_keys("4")
        else:
            box.send_keys(Keys.SPACE)
            assert not box.is_selected()
    find(driver, "#submit").send_keys(Keys.ENTER)
    articles = captioned(driver, 1)
    articles["clip-prefix"].find_element(By.CSS_SELECTOR, "summary").click()
    rows = articles["clip-prefix"].find_elements(By.CSS_SELECTOR, "tbody tr")
    assert len(rows) == 4, "all four beams are shown"
    shoot(driver, shots / f"{name}-beams.png")

    # A value out of range is not sent; no run is an error in words.
    beams.clear()
    beams.send_keys("1000")
    find(driver, "#submit").click()
    assert driver.execute_script("return document.querySelector(':invalid[data-key=beams]') !== null")
    beams.clear()
    beams.send_keys("2")

    # A file that is no picture is an error in words, and the page goes on.
    with tempfile.NamedTemporaryFile(suffix=".jpg") as text:
        text.write(b"This is not a picture.")
        text.flush()
        find(driver, "#file").send_keys(text.name)
        WebDriverWait(driver, 20).until(lambda _: "is not a JPEG" in find(driver, "#error").text)
        assert not driver.find_elements(By.CSS_SELECTOR, "#results article")
        shoot(driver, shots / f"{name}-error.png")
    find(driver, "#file").send_keys(str(picture))
    captioned(driver, 1)
    assert find(driver, "#error").text == ""

    wide = driver.execute_script("return document.documentElement.scrollWidth > innerWidth")
    assert not wide, "the page is wider than the window"
    unnamed = driver.execute_script(
        "return [...document.querySelectorAll('input, select')].filter((e) => !e.labels.length).map((e) => e.outerHTML)"
    )
    assert not unnamed, unnamed
    # The refused file is the only failure that the browser may have seen.
    seen = [entry["message"] for entry in driver.get_log("browser")]
    assert all("422" in message for message in seen), seen


def main():
    address, picture, shots = sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3])
    shots.mkdir(parents=True, exist_ok=True)
    for dark in (False, True):
        for name, (width, height, mobile) in SIZES.items():
            driver = browser(width, height, mobile, dark)
            try:
                use(driver, address, picture, shots, f"{name}-{'dark' if dark else 'light'}")
            finally:
                driver.quit()
    print(f"the page does what it should; screenshots are in {shots}")


if __name__ == "__main__":
    main()
