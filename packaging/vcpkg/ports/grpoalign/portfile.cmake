# An overlay port of the tree that it is in; a port of a release downloads its archive here.
get_filename_component(SOURCE_PATH "${CURRENT_PORT_DIR}/../../../.." ABSOLUTE)

# default_library comes from the triplet.
vcpkg_configure_meson(
    SOURCE_PATH "${SOURCE_PATH}"
    OPTIONS
        -Dcblas=openblas
        -Dlapacke=lapacke
        -Dtools=false
        -Dtests=false
        -Dbench=false
)
vcpkg_install_meson()
vcpkg_fixup_pkgconfig()

# The config file stands two folders below the prefix here, and not where Meson puts it.
file(INSTALL "${CURRENT_PACKAGES_DIR}/lib/cmake/grpoalign" DESTINATION "${CURRENT_PACKAGES_DIR}/share")
vcpkg_replace_string("${CURRENT_PACKAGES_DIR}/share/grpoalign/grpoalignConfig.cmake"
    "\${_grpoalign_here}/./../../.." "\${_grpoalign_here}/../.."
)

file(REMOVE_RECURSE
    "${CURRENT_PACKAGES_DIR}/lib/cmake"
    "${CURRENT_PACKAGES_DIR}/debug/lib/cmake"
    "${CURRENT_PACKAGES_DIR}/debug/include"
    "${CURRENT_PACKAGES_DIR}/debug/share"
    "${CURRENT_PACKAGES_DIR}/share/doc"
)
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
