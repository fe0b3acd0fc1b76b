"""The screens in the guide are what the commands print."""

from __future__ import annotations

import re

from tests.unit.cli.screens import PAGE, WIDTH, with_screens

from sendense_operator.cli.main import app


def test_the_page_shows_what_the_commands_print() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- screen: ") >= 6
    assert page == with_screens(page), "run python -m tests.unit.cli.screens"


def test_no_screen_is_wider_than_a_terminal() -> None:
    screens = re.findall(r"-->\n\n```\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    long = [line for shown in screens for line in shown.splitlines() if len(line) > WIDTH]
    assert [line for line in long if not line.startswith(("!", "db01-"))] == []


def test_the_page_names_each_command() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [one.name for one in app.registered_commands if f"`{one.name}" not in page] == []
