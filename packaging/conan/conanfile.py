"""libgrpoalign for Conan 2, from the tree that this file is in."""

import os
import re

from conan import ConanFile
from conan.tools.env import VirtualBuildEnv
from conan.tools.files import copy, load, rmdir
from conan.tools.gnu import PkgConfigDeps
from conan.tools.layout import basic_layout
from conan.tools.meson import Meson, MesonToolchain


class GrpoalignConan(ConanFile):
    name = "grpoalign"
    description = "The stationary policy of Group Relative Policy Optimisation"
    license = "MIT"
    topics = ("machine-learning", "reinforcement-learning", "numerics")
    package_type = "library"
    settings = "os", "compiler", "build_type", "arch"
    options = {"shared": [True, False], "fPIC": [True, False]}
    # The archive of OpenBLAS has LAPACKE where it is built with LAPACK.
    default_options = {"shared": False, "fPIC": True, "openblas/*:build_lapack": True}
    implements = ["auto_shared_fpic"]
    languages = "C"

    @property
    def _root(self):
        return os.path.join(self.recipe_folder, "..", "..")

    def set_version(self):
        text = load(self, os.path.join(self._root, "include", "grpoalign", "version.h"))
        numbers = re.findall(r"^#define GRPOALIGN_VERSION_[A-Z]* (\d+)$", text, re.M)
        self.version = self.version or ".".join(numbers)

    def export_sources(self):
        for folder in ("cmake", "include", "lib", "pkgconfig"):
            copy(self, folder + "/*", self._root, self.export_sources_folder)
        for name in ("meson.build", "meson_options.txt", "LICENSE"):
            copy(self, name, self._root, self.export_sources_folder)
        # Meson looks into these folders, whatever they are asked to do.
        copy(self, "doc/meson.build", self._root, self.export_sources_folder)
        for pattern in ("doc/*.md", "doc/examples/*", "doc/figures/*.svg"):
            copy(self, pattern, self._root, self.export_sources_folder)

    def layout(self):
        basic_layout(self)

    def requirements(self):
        self.requires("openblas/[>=0.3.20 <1]")

    def build_requirements(self):
        self.tool_requires("meson/[>=1.2 <2]")
        if not self.conf.get("tools.gnu:pkg_config", check_type=str):
            self.tool_requires("pkgconf/[>=2.1 <3]")

    def generate(self):
        VirtualBuildEnv(self).generate()
        toolchain = MesonToolchain(self)
        for part in ("tools", "tests", "bench"):
            toolchain.project_options[part] = "false"
        toolchain.project_options["cblas"] = "openblas"
        toolchain.project_options["lapacke"] = "openblas"
        toolchain.generate()
        PkgConfigDeps(self).generate()

    def build(self):
        meson = Meson(self)
        meson.configure()
        meson.build()

    def package(self):
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        Meson(self).install()
        # Conan writes these for its consumers.
        for folder in ("pkgconfig", "cmake"):
            rmdir(self, os.path.join(self.package_folder, "lib", folder))
        rmdir(self, os.path.join(self.package_folder, "share"))

    def package_info(self):
        self.cpp_info.libs = ["grpoalign"]
        self.cpp_info.set_property("cmake_file_name", "grpoalign")
        self.cpp_info.set_property("cmake_target_name", "grpoalign::grpoalign")
        self.cpp_info.set_property("pkg_config_name", "grpoalign")
        if self.settings.os in ("Linux", "FreeBSD"):
            self.cpp_info.system_libs = ["m"]
