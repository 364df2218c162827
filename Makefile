# Two commands on a machine with Python 3.11, make and gcc: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: setup demo test test-unit test-matrix slow lint format benchmarks

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

# Oldest and newest versions, each in an environment of its own in .matrix/ (several gigabytes).
test-matrix:
	$(PYTHON) benchmarks/matrix.py

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
	$(BIN)/python benchmarks/stock_agents.py
