"""What pyproject.toml cannot say: which folders of the clone are data of the package in a wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# Side by side as in the clone, because the configs inherit from each other by relative paths.
SHIPPED = ("configs", "projects/*/configs", "crnas_d2/genotypes")


class BuildWithConfigs(build_py):
    def run(self):
        super().run()
        if self.editable_mode:  # the folders of the clone are used
            return
        target = Path(self.build_lib, "crnas_d2", "shipped")
        shutil.rmtree(target, ignore_errors=True)  # of an earlier build
        for pattern in SHIPPED:
            for folder in ROOT.glob(pattern):
                shutil.copytree(folder, target / folder.relative_to(ROOT))
        # Detectron2's licence is the same text.
        shutil.copy(ROOT / "LICENSE", Path(self.build_lib, "crnas_d2", "verbs"))


setup(cmdclass={"build_py": BuildWithConfigs})
