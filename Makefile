# Two commands on a machine with Python 3.11, make and gcc: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: setup demo test test-unit test-matrix matrix-oldest matrix-middle matrix-newest slow lint format benchmarks

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/gtn-rl train CartPole-v1 --out $(OUT)
	$(BIN)/gtn-rl compare $(OUT) --algos ppo --steps 2048 --seeds 5 --jobs 2

# Modules stay whole: what they train once is shared within a process.
test: setup
	$(BIN)/pytest -n 2 --dist loadfile

test-unit: setup
	$(BIN)/pytest -n 2 --dist loadfile -m unit

# Oldest and newest versions, each in an environment of its own in .matrix/ (several gigabytes). Of
# each row all that is pinned is resolved at once, so that nothing else moves it.
test-matrix: matrix-oldest matrix-middle matrix-newest

matrix-oldest: BASE := python3.11
matrix-oldest: PINS := torch==2.8.0 numpy==1.26.0 gymnasium==1.1.0 stable-baselines3==2.9.0
matrix-middle: BASE := python3.12
matrix-middle: PINS := torch==2.11.0 numpy==2.2.0 gymnasium==1.2.0 stable-baselines3==2.9.2
matrix-newest: BASE := python3.13
matrix-newest: PINS := torch numpy gymnasium stable-baselines3

matrix-oldest matrix-middle matrix-newest:
	@if $(BASE) --version > /dev/null 2>&1; then \
		$(BASE) -m venv .matrix/$@ && \
		.matrix/$@/bin/pip install --quiet --disable-pip-version-check $(PINS) -e '.[dev]' && \
		OMP_NUM_THREADS=1 .matrix/$@/bin/python -m pytest -q $(TESTS); \
	else echo "$@: skipped, no $(BASE) on this machine"; fi

slow: setup
	$(BIN)/pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build && $(BIN)/pip install --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation --target build/installed .
	MYPYPATH=build/installed $(BIN)/mypy -p gtn_rl

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: setup
	$(BIN)/python benchmarks/classic.py
	$(BIN)/python benchmarks/unseen.py
