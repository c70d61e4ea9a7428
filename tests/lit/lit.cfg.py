# lit configuration: tests/errors (what the compiler says of wrong files) and tests/golden (every form it prints).
# A test is a .snet file with RUN and CHECK lines. From the environment:
#   SALUNC          the compiler (default: salunc in PATH)
#   FILECHECK       LLVM's FileCheck (default: found)
#   SALUN_LIT_WORK  where tests write (default: a folder beside the system's temporary files)
# Run: SALUNC=build/bin/salunc lit tests/lit
import glob
import os
import shutil
import subprocess
import tempfile

import lit.formats


def program(variable, *names):
    found = os.environ.get(variable) or next((path for path in map(shutil.which, names) if path), None)
    return os.path.abspath(found) if found else None


here = os.path.dirname(os.path.abspath(__file__))
salunc = program("SALUNC", "salunc")
versions = sorted(glob.glob("/usr/lib/llvm-*/bin/FileCheck"), reverse=True)
filecheck = program("FILECHECK", "FileCheck", *versions)
if not salunc or not filecheck:
    lit_config.fatal("salunc or FileCheck was not found: set SALUNC and FILECHECK")

config.name = "salunc"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".snet"]
config.excludes = ["unit", "fuzz", "run", "goldens", "oracle", "Inputs"]
config.test_source_root = os.path.dirname(here)
config.test_exec_root = os.environ.get("SALUN_LIT_WORK") or os.path.join(tempfile.gettempdir(), "salun-lit")
os.makedirs(config.test_exec_root, exist_ok=True)
# A compiler without LLVM says so before it reads the file.
if subprocess.run([salunc, "--emit=llvm", os.devnull], stderr=subprocess.PIPE, check=False).stderr.find(b"without LLVM") < 0:
    config.available_features.add("llvm")
# Words that stand alone in a RUN line, not parts of a path.
config.substitutions.append((r"(?<![-\w/.])salunc(?![-\w/.])", salunc))
config.substitutions.append((r"(?<![-\w/.])FileCheck(?![-\w/.])", filecheck))
for name in ("CC", "CFLAGS", "TMPDIR", "ASAN_OPTIONS", "UBSAN_OPTIONS"):
    if name in os.environ:
        config.environment[name] = os.environ[name]
