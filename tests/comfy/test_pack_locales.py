"""The languages of the pack: complete, and where ComfyUI looks for them."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest
from comfy_host.base import PackLink
from comfy_host.folder import REPOSITORY
from host.client import ComfyClient
from host.offered import inputs_of, our_nodes
from host.servers import Servers

FOLDER = REPOSITORY / "locales"
LANGUAGES = ("en", "zh")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
SPECIAL = re.compile(r"[@{}|]")  # to the frontend's translations


def stored(language: str, name: str) -> dict[str, Any]:
    return dict(json.loads((FOLDER / language / f"{name}.json").read_text(encoding="utf-8")))


def words_of(node: dict[str, Any]) -> dict[str, Any]:
    """What a locale file says of a node, in the words of the node itself."""
    inputs = {
        name: named(options.get("display_name", name), options.get("tooltip"))
        for name, options in inputs_of(node).items()
    }
    outputs = zip(node["output_name"], node["output_tooltips"], strict=True)
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        **({"inputs": inputs} if inputs else {}),
        "outputs": {str(index): named(*output) for index, output in enumerate(outputs)},
    }


def named(name: str, tooltip: str | None) -> dict[str, str]:
    """Without a tooltip of several lines: the last ones tell of this machine, and no file can."""
    return {"name": name, **({"tooltip": tooltip} if tooltip and "\n" not in tooltip else {})}


def leaves(tree: dict[str, Any], path: str = "") -> dict[str, str]:
    """All texts, by where they are."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        here = f"{path}/{key}"
        found |= leaves(value, here) if isinstance(value, dict) else {here: value}
    return found


def test_english_is_what_the_nodes_say(client: ComfyClient) -> None:
    said = {name: words_of(node) for name, node in our_nodes(client).items()}
    assert len(said) > 5
    assert leaves(stored("en", "nodeDefs")) == leaves(said)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_texts(language: str) -> None:
    for name in ("main", "nodeDefs"):
        texts = leaves(stored(language, name))
        assert texts.keys() == leaves(stored("en", name)).keys()
        assert all(texts.values())
        assert not any(SPECIAL.search(text) for text in texts.values())


def test_chinese_is_chinese() -> None:
    texts = leaves(stored("zh", "nodeDefs"))
    sentences = {where: text for where, text in texts.items() if where.endswith(("/tooltip", "/description"))}
    assert len(sentences) > 50
    assert [where for where, text in sentences.items() if not CHINESE.search(text) and text != "VAE。"] == []
    english = leaves(stored("en", "nodeDefs"))
    assert [where for where in sentences if texts[where] == english[where]] == []


def test_every_category_has_a_name(client: ComfyClient) -> None:
    categories = {part for node in our_nodes(client).values() for part in node["category"].split("/")}
    assert stored("en", "main")["nodeCategories"].keys() == categories


@pytest.mark.parametrize("link", get_args(PackLink))
def test_comfyui_finds_them(servers: Servers, link: PackLink) -> None:
    with ComfyClient(servers.get(link).url) as client:
        found = client.get("/i18n").json()
    for language in LANGUAGES:
        assert found[language]["nodeDefs"] == stored(language, "nodeDefs")
        assert found[language]["nodeCategories"] == stored(language, "main")["nodeCategories"]
