import math

import pytest
import torch
from torch import nn

from gtn_rl.errors import UsageError
from gtn_rl.networks import MLP, orthogonal, tanh, uniform


def test_tanh_is_torchs_with_its_first_and_second_derivative():
    x = torch.tensor([-30.0, -1.0, 0.0, 1e-3, 0.7, 20.0], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(tanh(x), torch.tanh(x), atol=1e-15, rtol=0)
    assert float(tanh(torch.zeros(1))) == 0  # what `widen` relies on
    assert torch.autograd.gradcheck(tanh, x)
    assert torch.autograd.gradgradcheck(tanh, x)


@pytest.mark.parametrize(("activation", "module"), [("tanh", nn.Tanh), ("relu", nn.ReLU)])
def test_stack_equals_separate_torch_networks(activation, module, generator):
    network = MLP((3, 7, 5, 2), activation)
    rows = uniform(network, 4, generator=generator)
    inputs = torch.randn(4, 6, 3, generator=generator)
    outputs = network(rows, inputs)
    for k in range(4):
        single = nn.Sequential(
            nn.Linear(3, 7), module(), nn.Linear(7, 5), module(), nn.Linear(5, 2)
        )
        linears = [layer for layer in single if isinstance(layer, nn.Linear)]
        for linear, (weight, bias) in zip(linears, network.layers(rows), strict=True):
            linear.weight.data = weight[k].T
            linear.bias.data = bias[k, 0]
        torch.testing.assert_close(outputs[k], single(inputs[k]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ["tanh", "relu", (("tanh", 3), ("relu", 2))])
def test_the_pullback_is_autograds(activation, generator):
    network = MLP((4, 6, 5, 3), activation)
    kind = {"generator": generator, "dtype": torch.float64}
    parameters = torch.randn(5, network.num_parameters, **kind).requires_grad_()
    inputs, signal = torch.randn(5, 20, 4, **kind), torch.randn(5, 20, 3, **kind)
    outputs = network(parameters, inputs)
    (wanted,) = torch.autograd.grad(outputs, parameters, signal)
    same, pull = network.pullback(parameters, inputs)
    assert torch.equal(outputs, same)
    torch.testing.assert_close(wanted, pull(signal.clone()), rtol=1e-13, atol=1e-13)


def test_orthogonal_weights_have_their_gain(generator):
    network = MLP((4, 64, 64, 2))
    for layer, (weight, bias) in enumerate(
        network.layers(orthogonal(network, 3, output_gain=0.01, generator=generator))
    ):
        gain = 0.01 if layer == 2 else math.sqrt(2)
        small = weight if weight.shape[1] <= weight.shape[2] else weight.transpose(1, 2)
        gram = small @ small.transpose(1, 2)
        expected = gain**2 * torch.eye(gram.shape[1]).expand_as(gram)
        torch.testing.assert_close(gram, expected, rtol=1e-4, atol=1e-5)
        assert not bias.any()


def test_uniform_stays_in_torch_default_bounds(generator):
    network = MLP((16, 9, 1))
    for (weight, bias), inputs in zip(
        network.layers(uniform(network, 50, generator=generator)), (16, 9), strict=True
    ):
        for tensor in (weight, bias):
            assert tensor.abs().max() <= 1 / math.sqrt(inputs)
            assert tensor.std() == pytest.approx(1 / math.sqrt(3 * inputs), rel=0.15)


@pytest.mark.parametrize("arguments", [((4,),), ((4, 0, 2),), ((4, 2), "gelu")])
def test_bad_shapes_are_refused(arguments):
    with pytest.raises(UsageError):
        MLP(*arguments)
