"""Parity with torch.optim in float64, learning rate by learning rate."""

import pytest
import torch
from torch.autograd import gradcheck

from gtn_rl.agents.optim import SGD, Adam, RMSprop

PAIRS = [
    (SGD(), lambda p, lr: torch.optim.SGD(p, lr)),
    (SGD(momentum=0.9), lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9)),
    (
        RMSprop(decay=0.9, eps=1e-6, eps_root=0),
        lambda p, lr: torch.optim.RMSprop(p, lr, alpha=0.9, eps=1e-6),
    ),
    (
        Adam(betas=(0.8, 0.95), eps=1e-6, eps_root=0),
        lambda p, lr: torch.optim.Adam(p, lr, betas=(0.8, 0.95), eps=1e-6),
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=["sgd", "momentum", "rmsprop", "adam"])
def test_steps_equal_torch_for_every_learner(ours, theirs, generator):
    start = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    rates = torch.tensor([[1e-3], [1e-2], [0.1]], dtype=torch.float64)
    curvature = torch.rand(3, 5, generator=generator, dtype=torch.float64)

    parameters, state = start.clone(), ours.initial(start)
    for _ in range(20):
        gradient = curvature * parameters + parameters.sin()
        parameters, state = ours.step(parameters, gradient, state, rates)

    for k in range(3):
        row = start[k].clone().requires_grad_()
        optimizer = theirs([row], float(rates[k, 0]))
        for _ in range(20):
            row.grad = (curvature[k] * row + row.sin()).detach()
            optimizer.step()
        torch.testing.assert_close(parameters[k], row.detach(), rtol=1e-12, atol=1e-14)


def test_rmsprop_equals_the_form_of_sb3_a2c(generator):
    from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

    start = torch.randn(1, 5, generator=generator, dtype=torch.float64)
    ours = RMSprop(decay=0.99, eps=0, eps_root=1e-5, initial_square=1)
    parameters, state = start.clone(), ours.initial(start)
    row = start[0].clone().requires_grad_()
    theirs = RMSpropTFLike([row], 0.01, alpha=0.99, eps=1e-5)
    for _ in range(10):
        parameters, state = ours.step(
            parameters, parameters.cos(), state, torch.full((1, 1), 0.01, dtype=torch.float64)
        )
        row.grad = row.detach().cos()
        theirs.step()
    torch.testing.assert_close(parameters[0], row.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("optimizer", [SGD(0.9), RMSprop(), Adam()])
def test_three_steps_are_differentiable(optimizer, generator):
    target = torch.randn(2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    rate = torch.full((2, 1), 0.05, dtype=torch.float64)

    def trained(target):
        parameters = torch.ones(2, 3, dtype=torch.float64)
        state = optimizer.initial(parameters)
        for _ in range(3):
            parameters, state = optimizer.step(parameters, parameters - target, state, rate)
        return parameters

    assert gradcheck(trained, (target,))


def test_zero_gradient_has_a_finite_derivative():
    gradient = torch.zeros(1, 2, requires_grad=True)
    start = torch.ones(1, 2)
    new, _ = Adam().step(start, gradient, Adam().initial(start), torch.full((1, 1), 0.1))
    new.sum().backward()
    assert gradient.grad.isfinite().all()
