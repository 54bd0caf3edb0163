#!/usr/bin/env python3
"""Uses pages of `capsmith demo`, `report` and `sweep` as a person does, in Chromium, and takes screenshots.

usage: pages.py SCREENSHOTS [--axe axe.min.js] [--demo index.html] [--report report.html] [--sweep index.html]

The report is of two runs or more with scores. Wants Chromium and chromedriver, and the packages of
requirements.txt; axe.min.js is in the package axe-core of npm. Ends with a traceback where a page does not do
what it should.
"""

import argparse
import re
from pathlib import Path

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from serve import browser, find, shoot

SIZES = {"desktop": (1400, 900, False), "phone": (390, 844, True)}


def all_of(driver, selector):
    return [found for found in driver.find_elements(By.CSS_SELECTOR, selector) if found.is_displayed()]


def click(driver, target):
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", target)


def audit(driver, axe):
    """Fails for what axe finds serious."""
    if axe is None:
        return
    driver.execute_script(axe)
    found = driver.execute_async_script(
        "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then((result) => done(result.violations))"
    )
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    told = [(one["id"], one["help"], [node["html"][:160] for node in one["nodes"][:3]]) for one in serious]
    assert not told, told


def check_frame(driver):
    """What holds for every page."""
    wide = driver.execute_script("return document.documentElement.scrollWidth > innerWidth")
    assert not wide, "the page is wider than the window"
    assert re.search(r"capsmith \d+\.\d+.* · \d{4}-\d\d-\d\d", find(driver, "body > footer").text)
    font = driver.execute_script("return getComputedStyle(document.body).fontFamily")
    assert "sans-serif" in font, font
    seen = driver.get_log("browser")
    assert not seen, seen


def check_table(driver, phone):
    """Sorting, copying, and the choice of a column on a phone."""
    table = next(table for table in all_of(driver, "table.sortable") if len(table.find_elements(By.CSS_SELECTOR, "th")) > 3)
    headers = table.find_elements(By.CSS_SELECTOR, "th")
    shown = [header for header in headers if header.is_displayed()]
    assert len(shown) == (2 if phone else len(headers)), len(shown)
    button = shown[-1].find_element(By.CSS_SELECTOR, "button")
    for order in ("descending", "ascending"):
        click(driver, button)
        assert shown[-1].get_attribute("aria-sort") == order
        column = headers.index(shown[-1])
        cells = [row.find_elements(By.CSS_SELECTOR, "td")[column] for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")]
        values = [float(value) for cell in cells if (value := cell.get_attribute("data-value")) is not None]
        assert values == sorted(values, reverse=order == "descending"), values
    if phone:
        chooser = Select(all_of(driver, ".chooser select")[0])
        chooser.select_by_index(0)
        assert headers[1].is_displayed() and not shown[-1].is_displayed() or shown[-1] == headers[1]
    driver.execute_script("navigator.clipboard.writeText = async (text) => { window.copied = text }")
    tools = driver.execute_script("return arguments[0].closest('.scroll').previousElementSibling", table)
    csv, latex = tools.find_elements(By.CSS_SELECTOR, "button")
    click(driver, csv)
    lines = driver.execute_script("return window.copied").splitlines()
    assert len(lines) == 1 + len(table.find_elements(By.CSS_SELECTOR, "tbody tr")), lines
    click(driver, latex)
    assert driver.execute_script("return window.copied").startswith("\\begin{tabular}{l")


def check_charts(driver):
    """Lines are toggled in the legend and read by keyboard."""
    chart = next(iter(all_of(driver, ".chart:has(polyline)")), None)
    if chart is None:
        return
    entry = chart.find_element(By.CSS_SELECTOR, ".legend button")
    line = chart.find_element(By.CSS_SELECTOR, f"polyline[data-name='{entry.text}']")
    entry.send_keys(Keys.ENTER)
    assert entry.get_attribute("aria-pressed") == "false" and "off" in line.get_attribute("class")
    entry.send_keys(Keys.ENTER)
    assert "off" not in line.get_attribute("class")
    area = chart.find_element(By.CSS_SELECTOR, ".area")
    area.send_keys(Keys.HOME)
    first = chart.find_element(By.CSS_SELECTOR, ".tip").text
    area.send_keys(Keys.ARROW_RIGHT)
    assert chart.find_element(By.CSS_SELECTOR, ".tip").text != first
    area.send_keys(Keys.ESCAPE)
    assert not chart.find_elements(By.CSS_SELECTOR, ".tip")


def check_cards(driver):
    """The list is short at first, is filtered and ordered, and a picture opens."""
    section = find(driver, "#captions")
    cards = lambda: [card for card in section.find_elements(By.CSS_SELECTOR, ".card") if card.is_displayed()]
    before = len(cards())
    assert 0 < before <= 12, before
    if more := all_of(driver, "#captions .more"):
        click(driver, more[0])
        assert len(cards()) > before
    word = section.find_element(By.CSS_SELECTOR, "[name=word]")
    text = section.find_element(By.CSS_SELECTOR, ".caption p").text.split()[-1]
    word.send_keys(text)
    assert cards() and all(text.lower() in card.get_attribute("textContent").lower() for card in cards()), text
    word.clear()
    word.send_keys("zzzz")
    output = section.find_element(By.CSS_SELECTOR, "output")
    assert not cards() and output.text.startswith("0 of "), output.text
    word.send_keys(Keys.BACKSPACE * 4)
    check_fifths(section, cards, int(output.text.split()[2]))
    for order, attribute, sign in (("spread", "spread", -1), ("mean", "mean", -1), ("-mean", "mean", 1)):
        Select(section.find_element(By.CSS_SELECTOR, "[name=order]")).select_by_value(order)
        values = [sign * float(card.get_attribute(f"data-{attribute}") or 0) for card in cards()]
        assert values == sorted(values), order

    picture = section.find_element(By.CSS_SELECTOR, ".open")
    click(driver, picture)
    dialog = find(driver, "dialog[open]")
    assert len(dialog.find_elements(By.CSS_SELECTOR, "details[open] li")) > 0 and "CIDEr" in dialog.text
    return dialog


def check_fifths(section, cards, count):
    """A fifth of the cards by CIDEr and by disagreement, chosen by keyboard, alone and together."""
    output = section.find_element(By.CSS_SELECTOR, "output")
    numbers = lambda key: [float(card.get_attribute(f"data-{key}")) for card in cards()]
    lists = {key: section.find_element(By.CSS_SELECTOR, f"[name={key}]") for key in ("mean", "spread")}
    assert "CIDEr" in lists["mean"].find_element(By.XPATH, "..").text
    found = {}
    for key, chooser in lists.items():
        choice = Select(chooser)
        chooser.send_keys("h")
        assert choice.first_selected_option.get_attribute("value") == "high"
        high = numbers(key)
        assert count // 5 <= int(output.text.split()[0]) < count, output.text
        choice.select_by_value("low")
        low = numbers(key)
        found[key] = int(output.text.split()[0])
        assert high and low and max(low) < min(high), (key, low, high)
        bound = float(re.search(r"[\d.]+", choice.first_selected_option.text).group())
        assert abs(max(low) - bound) < 0.006 or len(low) == 12, (low, bound)
        choice.select_by_value("")
    for key in lists:
        Select(lists[key]).select_by_value("low")
    assert int(output.text.split()[0]) <= found["mean"], output.text
    for key in lists:
        Select(lists[key]).select_by_value("")
    assert int(output.text.split()[0]) == count


def check_pairs(driver):
    """Two choices show the wins of one pair."""
    section = find(driver, "#pairs")
    a, b = (Select(select) for select in section.find_elements(By.CSS_SELECTOR, ".filters select"))
    a.select_by_index(0)
    b.select_by_index(1)
    shown = [pair for pair in section.find_elements(By.CSS_SELECTOR, ".pair") if pair.is_displayed()]
    assert len(shown) == 1 and "wins" in shown[0].text
    b.select_by_index(0)
    assert not [pair for pair in section.find_elements(By.CSS_SELECTOR, ".pair") if pair.is_displayed()]
    b.select_by_index(1)


def use_demo(driver, phone):
    first = find(driver, ".hero")
    assert "captioners learned from" in first.text and "capsmith serve" in first.get_attribute("textContent")
    assert first.find_element(By.CSS_SELECTOR, ".badge").text == "drawn pictures, not Flickr8k"
    assert len(first.find_elements(By.CSS_SELECTOR, "tbody tr")) == 7 and "paper 0." not in find(driver, "main").text
    assert len(driver.find_elements(By.CSS_SELECTOR, "#chosen .card")) == 8
    assert all_of(driver, "#chosen .human") and driver.find_elements(By.CSS_SELECTOR, "#chosen mark")
    check_table(driver, phone)
    check_charts(driver)
    check_pairs(driver)
    return check_cards(driver)


def use_report(driver, phone):
    assert "test pictures" in find(driver, ".lead").text
    summary = find(driver, "main > details summary")
    summary.send_keys(Keys.ENTER)
    command = find(driver, "main > details[open] pre.command")
    assert command.text.startswith("capsmith serve --run ")
    button = driver.execute_script("return arguments[0].nextElementSibling", command)
    assert command.rect["x"] + command.rect["width"] > button.rect["x"] + button.rect["width"], "in the frame"
    check_table(driver, phone)
    check_charts(driver)
    check_pairs(driver)
    return check_cards(driver)


def use_sweep(driver, phone):
    plots = all_of(driver, "svg.parallel")
    assert len(plots) == 1, "one of the two layouts"
    axes = plots[0].find_elements(By.CSS_SELECTOR, ".axis text")
    frame = plots[0].rect
    for text in axes:
        box = text.rect
        assert box["x"] >= frame["x"] - 1 and box["x"] + box["width"] <= frame["x"] + frame["width"] + 1, text.text
    assert re.search(r"of \d+ trials scored.*\d+ of \d+ runs.*stages", find(driver, ".progress").text)
    check_table(driver, phone)
    assert "capsmith train --config" in all_of(driver, "details.trial[open]")[0].text, "the best trial is open"
    link = all_of(driver, "a[data-trial]")[1]
    click(driver, link)
    trial = find(driver, link.get_attribute("hash"))
    assert trial.get_attribute("open") and "capsmith train --config" in trial.text
    check_charts(driver)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("screenshots", type=Path)
    parser.add_argument("--axe", type=Path)
    pages = {"demo": use_demo, "report": use_report, "sweep": use_sweep}
    for name in pages:
        parser.add_argument(f"--{name}", type=Path)
    arguments = parser.parse_args()
    shots = arguments.screenshots
    shots.mkdir(parents=True, exist_ok=True)
    axe = arguments.axe and arguments.axe.read_text()
    for name, use in pages.items():
        page = getattr(arguments, name)
        if page is None:
            continue
        for dark in (False, True):
            for size, (width, height, mobile) in SIZES.items():
                driver = browser(width, height, mobile, dark)
                try:
                    driver.get(page.resolve().as_uri())
                    path = f"{name}-{size}-{'dark' if dark else 'light'}"
                    shoot(driver, shots / f"{path}.png")
                    check_frame(driver)
                    audit(driver, axe)
                    dialog = use(driver, mobile)
                    audit(driver, axe)
                    if dialog is not None:
                        driver.save_screenshot(str(shots / f"{path}-dialog.png"))
                        driver.switch_to.active_element.send_keys(Keys.ESCAPE)
                        assert not all_of(driver, "dialog")
                finally:
                    driver.quit()
    print(f"the pages do what they should; screenshots are in {shots}")


if __name__ == "__main__":
    main()
