#!/usr/bin/env bash
# run_openai_client.sh BUILD_ROOT MLA_COMMAND MODEL: runs the openai client's suite with a Python that has it: MLA_TEST_PYTHON, or the
# environment that ./test makes in build/venv. Without one the test is skipped (77), unless MLA_REQUIRE_OPENAI says that it must run.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
for python in "${MLA_TEST_PYTHON:-}" "$1/venv/bin/python" python3; do
  if [ -n "$python" ] && "$python" -c 'import openai, httpx' 2>/dev/null; then
    exec "$python" -B "$here/openai_client.py" "$2" "$3"
  fi
done
echo "no Python with the packages of tests/server/requirements.txt: ./test makes one, or name it with MLA_TEST_PYTHON" >&2
[ -n "${MLA_REQUIRE_OPENAI:-}" ] && exit 1
exit 77
