# Shared by ./mla, ./test and fuzz/run: installs what is missing, configures, builds. Sourced, not run.
# Everything here speaks on standard error: standard output belongs to the command that is run in the end.

build_packages=(g++ cmake ninja-build pkg-config libfmt-dev libcli11-dev nlohmann-json3-dev libpcre2-dev libutf8proc-dev
  libboost-dev liblmdb-dev libxxhash-dev prometheus-cpp-dev)
test_packages=(libgtest-dev libgmock-dev xz-utils python3-venv)
fuzz_packages=(clang libclang-rt-dev llvm)  # llvm: names in stack traces

say() { printf '\033[2m%s\033[0m\n' "$*" | if [ -t 2 ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi >&2; }

die() {
  printf 'mla: error: %s\n' "$*" >&2
  exit 1
}

# install_missing PACKAGE...: installs the Debian packages that are not there yet, as root or through sudo.
install_missing() {
  command -v dpkg-query >/dev/null || {
    say "this is not a Debian system: expecting these packages' equivalents to be installed: $*"
    return 0
  }
  local missing=() package
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  say "installing ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "these packages are missing and neither root nor sudo is at hand: ${missing[*]}
run as root: apt-get update && apt-get install -y ${missing[*]}"
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq >&2 || die "apt-get update failed (see above)"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
    die "apt-get install failed (see above); packages: ${missing[*]}"
}

# configure PRESET TESTS: configures build/PRESET unless that was done. TESTS is ON or OFF; tests need more packages than the
# command, so that a folder configured without them is configured again when they are wanted (and never the other way).
configure() {
  local preset=$1 tests=$2 folder=build/$1
  # A tree that was moved or copied brings a folder that was configured for the old place.
  if [ -f "$folder/CMakeCache.txt" ] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$folder/CMakeCache.txt"; then
    rm -rf "$folder/CMakeCache.txt" "$folder/CMakeFiles" "$folder/build.ninja"
  fi
  if [ -f "$folder/build.ninja" ] && { [ "$tests" = OFF ] || ! grep -q '^MLA_BUILD_TESTS:BOOL=OFF' "$folder/CMakeCache.txt"; }; then
    return 0
  fi
  say "configuring $folder"
  mkdir -p "$folder"
  cmake --preset "$preset" -DMLA_BUILD_TESTS="$tests" >"$folder/configure.log" 2>&1 || {
    cat "$folder/configure.log" >&2
    die "configuring failed; the log above is in $folder/configure.log"
  }
}

# build PRESET TARGET...: builds targets of a configured folder.
build() {
  local folder=build/$1
  shift
  say "building $folder"
  ninja -C "$folder" "$@" >&2 || die "the build failed (see above)"
}

# python_environment: makes build/venv with the packages of tests/server/requirements.txt, unless it is there already.
python_environment() {
  local wanted=tests/server/requirements.txt folder=build/venv
  cmp -s "$wanted" "$folder/requirements.txt" && return 0
  say "making $folder"
  rm -rf "$folder"
  python3 -m venv "$folder" >&2 || die "python3 -m venv failed (see above)"
  "$folder/bin/pip" install --quiet --disable-pip-version-check -r "$wanted" >&2 || die "pip install failed (see above); packages: $wanted"
  cp "$wanted" "$folder/requirements.txt"
}
