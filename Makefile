# make demo        trains on handwritten digits with and without the class-balanced term (minutes)
# make test        installs what the tests need, then runs them: six minutes at most on two idle cores
# make test-versions  the library's tests on the oldest and the newest versions that pyproject.toml
#                  allows, in build/oldest and build/newest; OLDEST_PYTHON and NEWEST_PYTHON choose
# make test-slow   the tests that kill trainings, train for long, or build the op
# make check       what is checked without running the tests: the next three
# make lint        ruff
# make types       mypy, on the library
# make sanitize    the op's code for the CPU under ASan, UBSan and TSan
# make cuda-check  compiles the CUDA kernels with nvcc alone, and checks them where there is a GPU
# make cuda-emulation  runs the same checks of the CUDA kernels on the CPU, under ASan and UBSan
# make docs        the site, into build/site; a warning is an error
# make fuzz        a minute of fuzzing: command lines and run directories; FUZZ=-runs=20000 chooses
# All of them make and use .venv; PYTHON=python3.12 chooses the interpreter.

PYTHON ?= python3
BIN := .venv/bin

# One version for everybody, so that a local wheel of the CPU build is preferred where there is one.
# On Linux PyPI's wheel brings CUDA along (gigabytes); PyTorch's own index has the small build:
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make test
TORCH ?= torch==2.13.0

# What the libraries are made of, and what their checks add; ops/compilers.py has flags and GPU targets.
OPS := $(wildcard ops/*.py ops/*.h ops/cpu/*.* ops/cuda/*.* ops/xla/*.* ops/tensorflow/*.*)
CHECKS := $(wildcard ops/*.py ops/*.h ops/check/*.* ops/cpu/*.* ops/cuda/*.*)

# Python and TensorFlow are not sanitized, so the runtime is loaded before them; with libstdc++, or
# it would find no exceptions to intercept. Leaks would be Python's own.
SANITIZED := CB_KERAS_SANITIZE=address,undefined CB_KERAS_CACHE="$(CURDIR)/build/sanitized" CXX=g++ \
  LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so.6)" \
  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
  CB_KERAS_CUDA=0 CUDA_VISIBLE_DEVICES= KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3

.PHONY: demo test test-slow test-tensorflow test-jax test-torch check lint types sanitize sanitize-kernels \
  sanitize-op test-versions docs fuzz cuda-check cuda-emulation clean

demo: .venv/demo
	$(BIN)/python -m experiments.demo

test: test-tensorflow test-jax test-torch

test-tensorflow: .venv/tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-slow: .venv/tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow
	KERAS_BACKEND=jax $(BIN)/python -m pytest -n 2 --dist worksteal -m slow tests/cb_keras
	KERAS_BACKEND=torch $(BIN)/python -m pytest -n 2 --dist worksteal -m slow tests/cb_keras

# The library on the other backends of Keras; the programs are TensorFlow's.
# JAX compiles more in these tests than it computes, so it optimises little.
test-jax: .venv/tests
	KERAS_BACKEND=jax XLA_FLAGS=--xla_backend_optimization_level=0 \
	  $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" tests/cb_keras

test-torch: .venv/tests
	KERAS_BACKEND=torch $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" tests/cb_keras

# Both ends of the ranges in pyproject.toml. The wheels of PyTorch bring CUDA along (gigabytes), see
# TORCH above. The op belongs to one TensorFlow, so each has its own. Triton, which PyTorch's compiler
# needs on a GPU only, and TensorFlow in one process end in a segmentation fault.
OLDEST_PYTHON ?= python3.11
NEWEST_PYTHON ?= python3.13
OLDEST := keras==3.10.0 tensorflow==2.19.1 jax==0.6.0 torch==2.6.0 numpy==1.26.4 pandas==2.2.3 \
  scikit-learn==1.5.2 scipy==1.14.1
NEWEST := 'keras<3.16' 'tensorflow<2.22' 'jax<0.12' 'torch<3' numpy pandas scikit-learn scipy
VERSIONS_NEED := 'pytest>=8,<10' 'pytest-xdist>=3.6,<4' 'hypothesis>=6.100,<7' 'mpmath>=1.3,<2' \
  balanced-loss==0.1.1 cbloss==0.2.0 'setuptools>=77'

test-versions: test-oldest test-newest

test-oldest test-newest: test-%: build/%/installed
	for backend in tensorflow jax torch; do \
	  CB_KERAS_CUDA=0 CB_KERAS_CACHE="$(CURDIR)/build/$*/cache" PYTHONPATH="$(CURDIR)" KERAS_BACKEND=$$backend \
	  XLA_FLAGS=--xla_backend_optimization_level=0 build/$*/bin/python -m pytest -n 2 \
	    --dist worksteal -m "not slow" tests/cb_keras || exit 1; done

build/oldest/installed: Makefile
	$(OLDEST_PYTHON) -m venv --clear build/oldest
	build/oldest/bin/python -m pip install -qq $(OLDEST) $(VERSIONS_NEED)
	build/oldest/bin/python -m pip uninstall -qqy triton
	touch $@

build/newest/installed: Makefile
	$(NEWEST_PYTHON) -m venv --clear build/newest
	build/newest/bin/python -m pip install -qq $(NEWEST) $(VERSIONS_NEED)
	build/newest/bin/python -m pip uninstall -qqy triton
	touch $@

check: lint types sanitize

lint: .venv/tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/tests
	$(BIN)/mypy

sanitize: sanitize-kernels sanitize-op

# The kernels alone, on threads that share the rows, with the instructions of older processors too.
sanitize-kernels: build/cpu_check_address build/cpu_check_thread
	for check in $^; do for kernels in baseline avx2 avx512; do \
	  CB_KERAS_CPU_KERNELS=$$kernels $$check || exit 1; done; done

build/cpu_check_address: $(CHECKS)
	$(PYTHON) -m ops.check.build cpu address,undefined $@

build/cpu_check_thread: $(CHECKS)
	$(PYTHON) -m ops.check.build cpu thread $@

# The op inside TensorFlow, by its tests; --capture=sys shows what a sanitizer says before it aborts.
sanitize-op: .venv/tests
	$(SANITIZED) $(BIN)/python -m cb_keras.fused build
	$(SANITIZED) $(BIN)/python -m pytest -n 2 --dist worksteal --capture=sys \
	  $(foreach part,values inputs gradient instruction_sets,tests/cb_keras/fused/test_$(part).py)

# In an environment of its own: it reads the docstrings without importing what they are of.
docs: build/docs/installed
	NO_MKDOCS_2_WARNING=1 build/docs/bin/mkdocs build --quiet

build/docs/installed: pyproject.toml
	$(PYTHON) -m venv build/docs
	build/docs/bin/python -m pip install -qq $$($(PYTHON) -c 'import tomllib; \
	  print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])')
	touch $@

FUZZ ?= -max_total_time=60

fuzz: .venv/tests
	$(BIN)/python -m pip install -qq -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz.fuzz_flags_and_config $(FUZZ)

# Exit status 77 of the check: it was built, but there is no GPU to run it on.
cuda-check: build/cuda_check
	build/cuda_check || { status=$$?; test $$status -eq 77; }

# The CUDA sources as C++, on an emulation of the GPU; needs a C++ compiler alone.
cuda-emulation: build/cuda_emulation
	build/cuda_emulation --emulated

build/cuda_emulation: $(CHECKS)
	$(PYTHON) -m ops.check.build emulation $@

build/cuda_check: $(CHECKS)
	$(PYTHON) -m ops.check.build cuda $@

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "cb_keras needs Python 3.11 to 3.13, $(PYTHON) is another: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	touch $@

# Without the native op, which would take longer to build than the demo to run.
.venv/demo: .venv/python pyproject.toml setup.py
	@echo "installing cb_keras and TensorFlow into .venv: a minute or two"
	CB_KERAS_FUSED=0 $(BIN)/python -m pip install -qq -e '.[experiments,plots]'
	touch $@

.venv/tests: .venv/python pyproject.toml setup.py $(OPS)
	@echo "installing cb_keras and what its tests need into .venv: some minutes"
	CB_KERAS_FUSED=0 $(BIN)/python -m pip install -qq -e '.[tests,jax,torch]' '$(TORCH)'
	command -v nvidia-smi > /dev/null || export CB_KERAS_CUDA=0; \
	  $(BIN)/python -m cb_keras.fused build || echo "the tests of the op are left out"
	touch $@

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache cb_keras/*.so
