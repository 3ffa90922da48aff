"""Checks the directions of imports inside each crate against layering.toml.

A module may use the modules that are listed below it in its crate's order, and
no others, so there is no circle. Tests are not checked: they may use anything.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Files and folders that hold tests or their doubles only.
TEST_PARTS = {"tests", "fakes"}


def module_path(source: Path, file: Path) -> list[str]:
    """The module that a file is, as its path below the crate's root."""
    parts = list(file.relative_to(source).with_suffix("").parts)
    return [] if parts in (["lib"], ["main"]) else parts


def without_tests_and_comments(text: str) -> str:
    """The code of a file up to its test module, without comments and strings."""
    text = re.split(r"^#\[cfg\(test\)\]\n(?:#\[[^\n]*\n)*(?:pub(?:\([a-z]+\))? )?mod \w+ \{", text, maxsplit=1, flags=re.M)[0]
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r'"(?:\\.|[^"\\])*"', '""', text)


def expanded(tree: str) -> list[list[str]]:
    """The paths of a use tree: `a::{b, c::d}` is `a::b` and `a::c::d`."""
    tree = re.sub(r"\s+as\s+\w+", "", tree.strip())
    head, brace, rest = tree.partition("{")
    prefix = [part.strip() for part in head.split("::") if part.strip()]
    if not brace:
        return [prefix]
    paths, depth, item = [], 0, ""
    for char in rest[: rest.rindex("}")] + ",":
        if char == "," and depth == 0:
            if item.strip():
                paths += [prefix + path for path in expanded(item)]
            item = ""
            continue
        depth += {"{": 1, "}": -1}.get(char, 0)
        item += char
    return paths


def uses(text: str) -> list[list[str]]:
    """Every path of a file that begins with crate, self or super."""
    trees = re.findall(r"\buse\s+((?:crate|super|self)\b[^;]*);", text)
    rest = re.sub(r"\buse\s+[^;]*;", "", text)
    inline = re.findall(r"\b(?:crate|super)(?:::\w+)+", rest)
    return [path for tree in trees + inline for path in expanded(tree)]


def resolved(module: list[str], path: list[str]) -> list[str]:
    """A path as seen from the crate's root."""
    base = list(module)
    if path[0] == "crate":
        base, path = [], path[1:]
    while path and path[0] in ("super", "self"):
        if path[0] == "super":
            base = base[:-1]
        path = path[1:]
    return base + path


def layer_of(order: list[str], path: list[str]) -> str | None:
    """The longest entry of the order that a path lies in."""
    names = ["::".join(path[:length]) for length in range(len(path), 0, -1)]
    return next((name for name in names if name in order), None)


def check(crate: str, rules: dict) -> list[str]:
    """What is wrong in one crate."""
    source = ROOT / crate / "src"
    order, exempt = rules["order"], set(rules.get("root", []))
    problems, seen = [], set()
    for file in sorted(source.rglob("*.rs")):
        module = module_path(source, file)
        if TEST_PARTS & set(module) or not module or module[0] in exempt:
            continue
        own = layer_of(order, module)
        name = file.relative_to(ROOT)
        if own is None:
            problems.append(f"{name}: its module is not in the order of {crate}")
            continue
        seen.add(own)
        text = without_tests_and_comments(file.read_text())
        for path in uses(text):
            target = layer_of(order, resolved(module, path))
            if target is None or target == own or target.startswith(f"{own}::"):
                continue
            # A part of a module may use what its parent defines.
            if own.startswith(f"{target}::"):
                continue
            if order.index(target) < order.index(own):
                problems.append(f"{name}: {own} must not use {target} ({'::'.join(path)})")
        for word in rules.get("never", {}).get(own, []):
            if re.search(rf"\b{word}::", text):
                problems.append(f"{name}: {own} must not use {word}")
    problems += [f"{crate}: {name} is in the order, but there is no such module" for name in order if name not in seen]
    return problems


def main() -> int:
    rules = tomllib.loads((ROOT / "infra" / "layering.toml").read_text())
    problems = [problem for crate, its in rules.items() for problem in check(crate, its)]
    for problem in dict.fromkeys(problems):
        print(f"layering: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
