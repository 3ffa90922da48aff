"""Prints the software bill of materials of the two services: each crate that is compiled
into them, as CycloneDX, from Cargo.lock. The image's Debian packages are not in it:
Docker lists those (infra/README.md).
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("worker", "data-streams")
# What the image is built for; crates of other systems are not compiled.
PLATFORM = "x86_64-unknown-linux-gnu"


def metadata() -> dict:
    """What cargo knows of the locked dependencies; downloads what is missing."""
    command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={PLATFORM}"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def compiled_in(nodes: dict, roots: list[str]) -> dict[str, list[str]]:
    """What each package needs in the finished program, from the roots on; not what only
    builds or tests need."""
    found, to_visit = {}, list(roots)
    while to_visit:
        package = to_visit.pop()
        if package in found:
            continue
        deps = nodes[package]["deps"]
        found[package] = [dep["pkg"] for dep in deps if any(it["kind"] is None for it in dep["dep_kinds"])]
        to_visit += found[package]
    return found


def component(package: dict, checksums: dict) -> dict:
    """A crate as CycloneDX has it."""
    name, version = package["name"], package["version"]
    is_ours = package["source"] is None
    entry = {
        "type": "application" if name in SERVICES else "library",
        "bom-ref": f"{name}@{version}",
        "name": name,
        "version": version,
    }
    if not is_ours:
        entry["purl"] = f"pkg:cargo/{name}@{quote(version)}"
    if (name, version) in checksums:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksums[name, version]}]
    if package["license"]:
        # The former way of writing OR.
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    return entry


def main() -> int:
    known = metadata()
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(it["name"], it["version"]): it["checksum"] for it in lock["package"] if "checksum" in it}
    packages = {it["id"]: it for it in known["packages"]}
    nodes = {it["id"]: it for it in known["resolve"]["nodes"]}
    roots = [it for it in known["workspace_members"] if packages[it]["name"] in SERVICES]
    needs = compiled_in(nodes, roots)
    components = {it: component(packages[it], checksums) for it in needs}
    refs = {it: entry["bom-ref"] for it, entry in components.items()}
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": "hubspot-streams",
                "name": "hubspot-streams",
                "version": packages[roots[0]]["version"],
            }
        },
        "components": sorted(components.values(), key=lambda it: (it["name"], it["version"])),
        "dependencies": [{"ref": "hubspot-streams", "dependsOn": sorted(refs[it] for it in roots)}]
        + sorted(
            ({"ref": refs[it], "dependsOn": sorted({refs[dep] for dep in deps})} for it, deps in needs.items()),
            key=lambda it: it["ref"],
        ),
    }
    json.dump(bom, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
