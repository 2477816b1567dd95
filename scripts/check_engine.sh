#!/usr/bin/env bash
# Run the tests of the compiled engine on builds that find more faults than an installed one, each in a copy of the
# project that has this build alone:
#
#   sanitized   AddressSanitizer and UndefinedBehaviorSanitizer, of the widest instruction set here and of the plain one
#   clang       the same instruction sets, by clang
#   portable    without any intrinsics, as on a processor that is not x86-64
#
# Usage: scripts/check_engine.sh [sanitized|clang|portable ...]    by default, all of them
# Needs gcc, clang++, and an environment with this project's extra "dev". Takes some ten minutes on two cores.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python}
include=$("$python" -c "import sysconfig; print(sysconfig.get_paths()['include'])")
flags=(-std=c++17 -fPIC -shared -fno-exceptions -fno-rtti -fno-math-errno -fno-trapping-math -ffp-contract=fast
    -Wall -Wextra -Wno-psabi)
sanitizers=(-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined)

sets=(plain)
if grep -qw avx2 /proc/cpuinfo; then sets+=(avx2); fi
if grep -qw avx512dq /proc/cpuinfo; then sets+=(avx512); fi

instructions() { # the compiler's flags of an instruction set
    case $1 in
        plain) ;;
        avx2) echo -mavx2 -mfma ;;
        avx512) echo -mavx512f -mavx512dq -mavx2 -mfma ;;
    esac
}

check() { # check NAME SET COMPILER FLAGS...: build one copy, and test it
    local name=$1 set=$2 compiler=$3
    shift 3
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    git -C "$root" ls-files -z --cached --others --exclude-standard | tar -C "$root" --null -T - -cf - | tar -C "$copy" -xf -
    if [ "$name" = portable ]; then
        sed -i '/#define INLINE/,$ s/defined(__[A-Za-z0-9_]*__)/0/' "$copy/jumpstart/engine/vector.h"
    fi
    # shellcheck disable=SC2046
    "$compiler" "${flags[@]}" "$@" $(instructions "$set") -I"$include" "-DENGINE=_$set" \
        "$copy/jumpstart/engine/engine.cpp" -o "$copy/jumpstart/engine/_$set.abi3.so"
    local preload=
    if [ "$name" = sanitized ]; then # a C++ library that is loaded later would find no hooks
        preload="$("$compiler" -print-file-name=libasan.so) $("$compiler" -print-file-name=libstdc++.so.6)"
    fi
    echo "== $name, $set"
    (cd "$copy" && PYTHONPATH=$copy OMP_NUM_THREADS=1 ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
        LD_PRELOAD=$preload "$python" -m pytest -q -p no:cacheprovider test/engine)
    rm -rf "$copy"
}

for kind in "${@:-sanitized clang portable}"; do
    for name in $kind; do
        case $name in
            sanitized) for set in "${sets[@]}"; do check sanitized "$set" g++ "${sanitizers[@]}"; done ;;
            clang) for set in "${sets[@]}"; do check clang "$set" clang++ -O3; done ;;
            portable) check portable plain g++ -O3 ;;
            *) echo "check must be sanitized, clang or portable, got $name" >&2 && exit 2 ;;
        esac
    done
done
