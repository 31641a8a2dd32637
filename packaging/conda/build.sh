#!/bin/bash
set -eux
# The netlib interfaces come without .pc files.
mkdir -p pc
for name in cblas lapacke; do
    cat >"pc/$name.pc" <<END
Name: $name
Description: $name of conda-forge
Version: 3.9
Cflags: -I$PREFIX/include
Libs: -L$PREFIX/lib -l$name
END
done
export PKG_CONFIG_PATH="$PWD/pc:${PKG_CONFIG_PATH:-}"
# shellcheck disable=SC2086 # a list of words
meson setup build ${MESON_ARGS:-} --prefix="$PREFIX" -Dlibdir=lib -Ddefault_library=shared \
    -Dcblas=cblas -Dlapacke=lapacke -Dtests=false -Dbench=false
ninja -C build
meson install -C build
