"""The wheel: every file of the package, and a data set that works without a checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_it_holds_the_package_and_its_data(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--quiet", "--wheel-dir", str(tmp_path)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    listed = subprocess.run(["git", "ls-files", "elegans_pyg", "data"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    expected = {name.replace("data/", "elegans_pyg/data/", 1) if name.startswith("data/") else name for name in listed.splitlines()}
    assert {str(path.relative_to(site)) for path in (site / "elegans_pyg").rglob("*") if path.is_file()} == expected

    program = "import elegans_pyg; from elegans_pyg.datasets import WiringBench; print(elegans_pyg.__file__, WiringBench('memory')[0])"
    environment = os.environ | {"PYTHONPATH": str(site), "ELEGANS_PYG_CACHE": str(tmp_path / "cache")}
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert run.stdout.startswith(str(site))
    assert "Data(" in run.stdout
