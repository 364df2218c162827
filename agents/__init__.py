"""Learners: stacked networks trained together, differentiable optimizers, stock agents."""

if __name__ == "agents":
    raise ImportError(
        "import gtn_rl.agents, not agents: the folder is installed inside the gtn_rl package "
        "(pip install -e .), and a second copy of its modules would not see the first one's state"
    )
